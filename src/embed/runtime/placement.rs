//! Reads which operators of a session were assigned to which provider.
//!
//! ONNX Runtime silently runs operators on the processor that the GPU's provider does not support. Its own switch
//! against that (`session.disable_cpu_ep_fallback`) is too strict: it also counts integer arithmetic on shapes, which
//! the CUDA provider leaves to the processor on purpose. So the assignment is read, and only operators that do the
//! main work of a network lead to a refusal.
#![allow(unsafe_code, reason = "the binding has no safe call for this part of ONNX Runtime's C interface")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

use ort::AsPointer;
use ort::ortsys;
use ort::session::Session;

/// Session option: `1` makes ONNX Runtime record the assignment.
pub(super) const RECORD: &str = "session.record_ep_graph_assignment_info";

const CPU: &str = "CPUExecutionProvider";

/// Parts of the names of operators that do the main work of a network: products, convolutions, attention,
/// normalisation, activations, quantisation.
const WORK: &[&str] = &[
    "MatMul",
    "Gemm",
    "Conv",
    "Attention",
    "LayerNorm",
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "Softmax",
    "Gelu",
    "Erf",
    "Sigmoid",
    "Tanh",
    "Relu",
    "Einsum",
    "QuantizeLinear",
    "LSTM",
    "GRU",
];

/// Number of operators by provider and operator type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Placement(BTreeMap<String, BTreeMap<String, usize>>);

impl Placement {
    /// Reads the placement of a session built with [`RECORD`].
    pub(super) fn of(session: &Session) -> ort::Result<Self> {
        let mut placement = Self::default();
        let (mut parts, mut count) = (std::ptr::null(), 0);
        // SAFETY: the session is alive, and the out-parameters have the types of the C interface. The returned data
        // belongs to the session and is only read while the session is borrowed.
        ortsys![unsafe Session_GetEpGraphAssignmentInfo(session.ptr(), &mut parts, &mut count)?];
        for part in unsafe { slice(parts, count) } {
            let mut name = std::ptr::null();
            ortsys![unsafe EpAssignedSubgraph_GetEpName(*part, &mut name)?];
            let provider = unsafe { text(name) };
            let (mut nodes, mut count) = (std::ptr::null(), 0);
            ortsys![unsafe EpAssignedSubgraph_GetNodes(*part, &mut nodes, &mut count)?];
            for node in unsafe { slice(nodes, count) } {
                let mut name = std::ptr::null();
                ortsys![unsafe EpAssignedNode_GetOperatorType(*node, &mut name)?];
                let operator = unsafe { text(name) };
                placement.add(&provider, &operator);
            }
        }
        Ok(placement)
    }

    fn add(&mut self, provider: &str, operator: &str) {
        *self.0.entry(provider.to_owned()).or_default().entry(operator.to_owned()).or_default() += 1;
    }

    /// Working operators that were assigned to the processor, such as `2 MatMul`.
    pub(super) fn left_to_cpu(&self) -> Vec<String> {
        let is_work = |operator: &str| WORK.iter().any(|part| operator.contains(part));
        let operators = self.0.get(CPU).into_iter().flatten();
        operators.filter(|(operator, _)| is_work(operator)).map(|(operator, n)| format!("{n} {operator}")).collect()
    }
}

/// Such as `CUDA 143, CPU 12`.
impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |(provider, operators): (&String, &BTreeMap<String, usize>)| {
            format!("{} {}", provider.trim_end_matches("ExecutionProvider"), operators.values().sum::<usize>())
        };
        f.write_str(&self.0.iter().map(count).collect::<Vec<_>>().join(", "))
    }
}

/// # Safety
/// `first` points to `count` values that outlive the use, or `count` is 0.
unsafe fn slice<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 || first.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(first, count) } }
}

/// # Safety
/// `name` is null or ends with a zero byte.
unsafe fn text(name: *const c_char) -> String {
    if name.is_null() { String::new() } else { unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_on_shapes_may_stay_on_the_processor_and_work_may_not() {
        let mut placement = Placement::default();
        for operator in ["Shape", "Gather", "Concat", "Mul", "Cast"] {
            placement.add(CPU, operator);
        }
        placement.add("CUDAExecutionProvider", "MatMul");
        assert!(placement.left_to_cpu().is_empty());
        for operator in ["MatMul", "MatMul", "DynamicQuantizeLinear", "SkipLayerNormalization"] {
            placement.add(CPU, operator);
        }
        assert_eq!(placement.left_to_cpu(), ["1 DynamicQuantizeLinear", "2 MatMul", "1 SkipLayerNormalization"]);
        assert_eq!(placement.to_string(), "CPU 9, CUDA 1");
    }
}
