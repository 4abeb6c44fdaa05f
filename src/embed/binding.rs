//! Runs a session through buffers that are kept. Recorded CUDA graphs need GPU memory at fixed addresses; it is filled from
//! pinned memory, by a copy of our own: given pinned memory to bind, ONNX Runtime copies buffers onto themselves and fails
//! (seen with 1.27 and 1.31 on an H100). Without recorded graphs, kept buffers were no faster there, so none are used.
//!
//! If the session takes only one number of rows, fewer rows are padded with zeros and the extra results are dropped.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionInputValue};
use ort::value::{DynTensor, PrimitiveTensorElementType, Shape, Tensor, TensorElementType};

use super::runtime::{Device, EmbedSettings};

/// The kind of memory of the buffers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Memory {
    /// Ordinary memory: ONNX Runtime copies to the device.
    Host,
    /// Pinned memory, copied to memory of this GPU at fixed addresses.
    Resident(u32),
    /// Like `Resident`, but with ordinary memory for both. For tests.
    ResidentHost,
}

impl Memory {
    /// `fixed`: the session takes only one number of rows. `None`: the session runs without kept buffers.
    pub(super) fn of(device: Device, settings: &EmbedSettings, fixed: bool) -> Option<Self> {
        match device {
            Device::Cpu if !settings.rehearse => None,
            Device::Cpu if settings.cuda_graphs && fixed => Some(Self::ResidentHost),
            Device::Cpu => Some(Self::Host),
            Device::Cuda(index) | Device::Tensorrt(index) if settings.cuda_graphs && fixed => {
                Some(Self::Resident(index))
            }
            // Padding the rows needs a buffer.
            Device::Cuda(_) | Device::Tensorrt(_) => fixed.then_some(Self::Host),
        }
    }

    fn host(self, session: &Session) -> ort::Result<Allocator> {
        match self {
            Self::Resident(index) => allocator(session, AllocationDevice::CUDA_PINNED, index, MemoryType::CPUInput),
            _ => Ok(Allocator::default()),
        }
    }

    fn device(self, session: &Session) -> ort::Result<Option<Allocator>> {
        match self {
            Self::Host => Ok(None),
            Self::Resident(index) => allocator(session, AllocationDevice::CUDA, index, MemoryType::Default).map(Some),
            Self::ResidentHost => Ok(Some(Allocator::default())),
        }
    }
}

fn allocator(session: &Session, device: AllocationDevice<'_>, index: u32, kind: MemoryType) -> ort::Result<Allocator> {
    let info = MemoryInfo::new(device, index.cast_signed(), AllocatorType::Device, kind)?;
    Allocator::new(session, info)
        .map_err(|e| ort::Error::new(format!("{e}: `model.cuda_graphs = false` does without pinned memory")))
}

/// A session's buffers, from the session's own arena. They are allocated again when the shapes change.
pub(super) struct Bound {
    /// Declared, and so dropped, before the binding, which keeps the session and thus the arena of the buffers alive.
    buffers: Option<Buffers>,
    binding: IoBinding,
    memory: Memory,
    output: String,
    /// Values per output row.
    dim: usize,
    /// The only number of rows that the session takes; `None`: any.
    rows: Option<usize>,
}

struct Buffers {
    inputs: Vec<Input>,
    /// Where the session writes.
    output: Tensor<f32>,
}

struct Input {
    name: String,
    host: DynTensor,
    /// Where the session reads; `None`: from a copy that is made when `host` is bound.
    device: Option<DynTensor>,
}

impl Bound {
    pub(super) fn new(
        session: &Session,
        memory: Memory,
        output: &str,
        dim: usize,
        rows: Option<usize>,
    ) -> ort::Result<Self> {
        let binding = session.create_binding()?;
        Ok(Self { buffers: None, binding, memory, output: output.to_owned(), dim, rows })
    }

    /// Runs the session; returns as many output rows as the inputs have.
    pub(super) fn run(
        &mut self,
        session: &mut Session,
        inputs: &[(&str, SessionInputValue<'_>)],
        rows: usize,
    ) -> ort::Result<Vec<Vec<f32>>> {
        let room = self.rows.unwrap_or(rows);
        if rows > room {
            return Err(ort::Error::new(format!("{rows} rows for a session that takes {room}")));
        }
        let shapes = inputs.iter().map(|(_, value)| shape(value, self.rows)).collect::<ort::Result<Vec<_>>>()?;
        if !self.buffers.as_ref().is_some_and(|buffers| buffers.fit(inputs, &shapes)) {
            self.allocate(session, inputs, &shapes, room)?;
        }
        let Self { binding, buffers, dim, .. } = self;
        let buffers = buffers.as_mut().expect("just allocated");
        for ((_, value), input) in inputs.iter().zip(&mut buffers.inputs) {
            fill_tensor(&mut input.host, value)?;
            match &mut input.device {
                Some(device) => input.host.copy_into(device)?,
                None => binding.bind_input(input.name.as_str(), &input.host)?,
            }
        }
        // Copies to the device may still be under way.
        binding.synchronize_inputs()?;
        // It returns `buffers.output` again; an output of another shape is an error.
        drop(session.run_binding(binding)?);
        let rows_of = |values: &[f32]| values.chunks_exact(*dim).take(rows).map(<[f32]>::to_vec).collect();
        Ok(match self.memory {
            Memory::Resident(_) => rows_of(buffers.output.to(AllocationDevice::CPU, 0)?.extract_tensor().1),
            _ => rows_of(buffers.output.extract_tensor().1),
        })
    }

    fn allocate(
        &mut self,
        session: &Session,
        inputs: &[(&str, SessionInputValue<'_>)],
        shapes: &[Shape],
        rows: usize,
    ) -> ort::Result<()> {
        // Free the old buffers first: both at once would take twice the memory.
        self.binding.clear();
        self.buffers = None;
        let (host, device) = (self.memory.host(session)?, self.memory.device(session)?);
        let mut buffers = Vec::with_capacity(inputs.len());
        for ((name, value), shape) in inputs.iter().zip(shapes) {
            let element = element(value)?;
            let new = |allocator| DynTensor::new(allocator, element, shape.clone());
            let input =
                Input { name: (*name).to_owned(), host: new(&host)?, device: device.as_ref().map(new).transpose()? };
            if let Some(device) = &input.device {
                self.binding.bind_input(*name, device)?;
            }
            buffers.push(input);
        }
        let mut output = Tensor::<f32>::new(device.as_ref().unwrap_or(&host), [rows, self.dim])?;
        self.binding.bind_output(self.output.as_str(), &mut output)?;
        self.buffers = Some(Buffers { inputs: buffers, output });
        Ok(())
    }
}

impl Buffers {
    fn fit(&self, inputs: &[(&str, SessionInputValue<'_>)], shapes: &[Shape]) -> bool {
        self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).zip(shapes).all(|((buffer, (name, value)), shape)| {
                buffer.name == *name
                    && buffer.host.shape() == shape
                    && Some(*buffer.host.data_type()) == value.dtype().tensor_type()
            })
    }
}

/// The shape of an input, with `rows` as its first dimension if given.
fn shape(value: &SessionInputValue<'_>, rows: Option<usize>) -> ort::Result<Shape> {
    let shape = value.dtype().tensor_shape().ok_or_else(|| ort::Error::new("an input is no tensor"))?;
    let mut shape = shape.clone();
    if let (Some(first), Some(rows)) = (shape.first_mut(), rows) {
        *first = rows as i64;
    }
    Ok(shape)
}

fn element(value: &SessionInputValue<'_>) -> ort::Result<TensorElementType> {
    value.dtype().tensor_type().ok_or_else(|| ort::Error::new("an input is no tensor"))
}

fn fill_tensor(host: &mut DynTensor, value: &SessionInputValue<'_>) -> ort::Result<()> {
    fn copy<T: PrimitiveTensorElementType + Copy + Default>(
        host: &mut DynTensor,
        value: &SessionInputValue<'_>,
    ) -> ort::Result<()> {
        fill(host.try_extract_tensor_mut::<T>()?.1, value.try_extract_tensor::<T>()?.1);
        Ok(())
    }
    match element(value)? {
        TensorElementType::Float32 => copy::<f32>(host, value),
        TensorElementType::Float16 => copy::<half::f16>(host, value),
        TensorElementType::Int64 => copy::<i64>(host, value),
        TensorElementType::Int32 => copy::<i32>(host, value),
        other => Err(ort::Error::new(format!("inputs of {other} have no buffers"))),
    }
}

/// Copies the values and fills the rest with zeros.
fn fill<T: Copy + Default>(buffer: &mut [T], values: &[T]) {
    let (taken, rest) = buffer.split_at_mut(values.len());
    taken.copy_from_slice(values);
    rest.fill(T::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_filled_is_zero() {
        let mut buffer = [7; 5];
        fill(&mut buffer, &[1, 2, 3]);
        assert_eq!(buffer, [1, 2, 3, 0, 0]);
        fill(&mut buffer, &[4, 5, 6, 7, 8]);
        assert_eq!(buffer, [4, 5, 6, 7, 8]);
    }

    #[test]
    fn the_memory_follows_the_device_and_the_settings() {
        let plain = EmbedSettings::default();
        let graphs = EmbedSettings { cuda_graphs: true, ..plain.clone() };
        assert_eq!(Memory::of(Device::Cpu, &graphs, false), None);
        assert_eq!(Memory::of(Device::Cuda(1), &plain, false), None);
        assert_eq!(Memory::of(Device::Cuda(1), &graphs, true), Some(Memory::Resident(1)));
        assert_eq!(Memory::of(Device::Cuda(1), &graphs, false), None);
        assert_eq!(Memory::of(Device::Tensorrt(0), &plain, true), Some(Memory::Host));
    }
}
