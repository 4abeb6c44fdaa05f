//! Converts between our element types and those of a graph: we use 64-bit ids and 32-bit floats, exports may have
//! 32-bit ids and 16-bit floats.

use half::f16;
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType};

/// Whether a value of our type can be converted to the graph's.
pub(super) fn converts(ours: TensorElementType, theirs: TensorElementType) -> bool {
    use TensorElementType::{Float16, Float32, Int32, Int64};
    ours == theirs || matches!((ours, theirs), (Int64, Int32) | (Float32, Float16))
}

/// Converts the value to this type.
pub(super) fn cast(value: SessionInputValue<'_>, to: TensorElementType) -> ort::Result<SessionInputValue<'_>> {
    use TensorElementType::{Float16, Float32, Int32, Int64};
    let from = value.dtype().tensor_type();
    match (from, to) {
        (Some(Int64), Int32) => converted(&value, |id: i64| i32::try_from(id).unwrap_or(i32::MAX)),
        (Some(Float32), Float16) => converted(&value, f16::from_f32),
        _ => Ok(value),
    }
}

fn converted<'v, A, B>(value: &SessionInputValue<'_>, convert: fn(A) -> B) -> ort::Result<SessionInputValue<'v>>
where
    A: PrimitiveTensorElementType + Copy,
    B: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let (shape, values) = value.try_extract_tensor::<A>()?;
    let values: Vec<B> = values.iter().map(|value| convert(*value)).collect();
    Ok(Tensor::from_array((shape.to_vec(), values))?.into())
}

/// One row of an input, as an input of one row.
pub(super) fn row<'v>(value: &SessionInputValue<'_>, row: usize) -> ort::Result<SessionInputValue<'v>> {
    fn cut<'v, T>(value: &SessionInputValue<'_>, row: usize) -> ort::Result<SessionInputValue<'v>>
    where
        T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
    {
        let (shape, values) = value.try_extract_tensor::<T>()?;
        let mut shape = shape.to_vec();
        let length = shape.iter().skip(1).product::<i64>() as usize;
        if let Some(rows) = shape.first_mut() {
            *rows = 1;
        }
        let values = values.get(row * length..(row + 1) * length).unwrap_or_default().to_vec();
        Ok(Tensor::from_array((shape, values))?.into())
    }
    match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => cut::<f32>(value, row),
        Some(TensorElementType::Float16) => cut::<f16>(value, row),
        Some(TensorElementType::Int64) => cut::<i64>(value, row),
        Some(TensorElementType::Int32) => cut::<i32>(value, row),
        _ => Err(ort::Error::new("an input of this type has no rows")),
    }
}

/// Shape and values of an output.
pub(super) fn floats(output: &DynValue) -> ort::Result<(Vec<i64>, Vec<f32>)> {
    if output.dtype().tensor_type() == Some(TensorElementType::Float16) {
        let (shape, values) = output.try_extract_tensor::<f16>()?;
        return Ok((shape.to_vec(), values.iter().map(|value| value.to_f32()).collect()));
    }
    let (shape, values) = output.try_extract_tensor::<f32>()?;
    Ok((shape.to_vec(), values.to_vec()))
}
