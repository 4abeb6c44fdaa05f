//! Reads the few facts that are needed before a session is opened from an ONNX file. ONNX files are protocol buffers,
//! of which only the fields below are read (`onnx.proto`: ModelProto, GraphProto, TensorProto, ValueInfoProto). Weights
//! are skipped.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::path::Path;

/// TensorProto.DataType.FLOAT16
const FLOAT16: u64 = 10;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OnnxFile {
    /// Whether any weights are in half precision.
    pub(super) float16: bool,
    /// Names of the inputs, each with the symbolic name of its first dimension, if it has one.
    pub(super) inputs: Vec<(String, Option<String>)>,
}

impl OnnxFile {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        let mut reader = Reader { inner: BufReader::new(file), at: 0, value: 0 };
        let mut facts = Self::default();
        reader.message(end, |reader, field, end| match field {
            // ModelProto.graph
            7 => reader.message(end, |reader, field, end| match field {
                // GraphProto.initializer
                5 => facts.initializer(reader, end),
                // GraphProto.input
                11 => facts.input(reader, end),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })?;
        Ok(facts)
    }

    /// The name of the first dimension of an input.
    pub(super) fn first_dimension(&self, input: &str) -> Option<&str> {
        self.inputs.iter().find(|(name, _)| name == input)?.1.as_deref()
    }

    fn initializer(&mut self, reader: &mut Reader<impl Read + Seek>, end: u64) -> io::Result<()> {
        reader.message(end, |reader, field, _| {
            // TensorProto.data_type
            if field == 2 {
                self.float16 |= reader.value == FLOAT16;
            }
            Ok(())
        })
    }

    fn input(&mut self, reader: &mut Reader<impl Read + Seek>, end: u64) -> io::Result<()> {
        let (mut name, mut dimensions) = (String::new(), Vec::new());
        reader.message(end, |reader, field, end| match field {
            // ValueInfoProto.name
            1 => reader.text(end).map(|text| name = text),
            // .type, its .tensor_type, its .shape, its .dim
            2 => reader.nested(end, &[1, 2, 1], &mut |reader, end| {
                let mut symbol = None;
                reader.message(end, |reader, field, end| {
                    // Dimension.dim_param
                    if field == 2 {
                        symbol = Some(reader.text(end)?).filter(|text| !text.is_empty());
                    }
                    Ok(())
                })?;
                dimensions.push(symbol);
                Ok(())
            }),
            _ => Ok(()),
        })?;
        self.inputs.push((name, dimensions.into_iter().next().flatten()));
        Ok(())
    }
}

struct Reader<R> {
    inner: BufReader<R>,
    at: u64,
    /// Value of the last field, if it is a varint.
    value: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Calls `each` with the number and end of every field up to `end`. Skips what `each` does not read.
    fn message(&mut self, end: u64, mut each: impl FnMut(&mut Self, u64, u64) -> io::Result<()>) -> io::Result<()> {
        while self.at < end {
            let key = self.varint()?;
            let field_end = match key & 7 {
                0 => {
                    self.value = self.varint()?;
                    self.at
                }
                1 => self.at + 8,
                2 => self.varint()?.saturating_add(self.at),
                5 => self.at + 4,
                kind => return Err(invalid(&format!("a field of kind {kind}"))),
            };
            if field_end > end {
                return Err(invalid("a field longer than what holds it"));
            }
            each(self, key >> 3, field_end)?;
            self.skip_to(field_end)?;
        }
        Ok(())
    }

    /// Follows a path of nested messages and calls `each` with the end of every message at its end.
    fn nested(
        &mut self,
        end: u64,
        path: &[u64],
        each: &mut dyn FnMut(&mut Self, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some((first, rest)) = path.split_first() else { return each(self, end) };
        self.message(end, |reader, field, end| if field == *first { reader.nested(end, rest, each) } else { Ok(()) })
    }

    fn text(&mut self, end: u64) -> io::Result<String> {
        let mut bytes = vec![0; usize::try_from(end - self.at).map_err(|_| invalid("a name"))?];
        self.inner.read_exact(&mut bytes)?;
        self.at = end;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.inner.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(invalid("a number of more than 64 bits"))
    }

    fn skip_to(&mut self, end: u64) -> io::Result<()> {
        self.inner.seek_relative((end - self.at).cast_signed())?;
        self.at = end;
        Ok(())
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("no ONNX graph: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> OnnxFile {
        OnnxFile::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    #[test]
    fn inputs_have_the_names_of_their_first_dimensions() {
        let frame = read("models/bundles/shapes/frame.onnx");
        assert_eq!(frame.first_dimension("pixel_values"), Some("batch"));
        assert_eq!(frame.first_dimension("else"), None);
        assert!(!frame.float16);
    }

    /// A length-delimited field.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    #[test]
    fn half_precision_is_seen_in_the_weights() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.onnx");
        // Two dims fields, data_type 10, then raw data that must not be misread.
        let weights = [&[8u8, 1, 8, 2, 16, 10][..], &field(9, &[0xff; 40])].concat();
        let fixed = field(11, &[field(1, b"fixed"), field(2, &field(1, &field(2, &field(1, &[8, 3]))))].concat());
        let graph = field(7, &[field(5, &weights), fixed].concat());
        std::fs::write(&path, [&[8u8, 9][..], &graph].concat()).unwrap();
        let facts = OnnxFile::read(&path).unwrap();
        assert!(facts.float16);
        assert_eq!(facts.inputs, [("fixed".to_owned(), None)]);
    }

    #[test]
    fn what_is_no_graph_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.onnx");
        for bytes in [&b"<html>not found</html>"[..], &[0x3a, 0xff, 0xff, 0x7f], &[0xff; 12]] {
            std::fs::write(&path, bytes).unwrap();
            OnnxFile::read(&path).unwrap_err();
        }
    }
}
