//! Names and help texts for the values of library types on the command line. They are here because the library does not
//! depend on the command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::decode::Sampling;
#[cfg(feature = "onnx")]
use crate::embed::import::Variant;
#[cfg(feature = "eval")]
use crate::eval::{annotations::Set, sampling::FrameRule};

/// Implements `ValueEnum` with these values; an empty help text means none.
macro_rules! choices {
    ($type:ty { $($value:ident = $name:literal: $help:literal,)* }) => {
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$value),*]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                let (name, help) = match self {
                    $(Self::$value => ($name, $help),)*
                };
                let value = PossibleValue::new(name);
                Some(if help.is_empty() { value } else { value.help(help) })
            }
        }
    };
}

choices!(Sampling {
    Auto = "auto": "Key frames if they are near enough to the wanted times (within the bundle's tolerance), else more frames",
    Keyframes = "keyframes": "Key frames only, however rare they are",
    Gop = "gop": "From each key frame to the last wanted frame after it; exact times",
    All = "all": "Every frame that is wanted or that another frame needs; exact times",
});

#[cfg(feature = "onnx")]
choices!(Variant {
    Float32 = "float32": "",
    Float16 = "float16": "",
    Int8 = "int8": "",
});

#[cfg(feature = "eval")]
choices!(Set {
    Msrvtt1ka = "msrvtt-1ka": "MSR-VTT, 1000 pairs (JSFUSION test): MSRVTT_JSFUSION_test.csv",
    MsrvttFull = "msrvtt-full": "MSR-VTT, about 20 captions a video: MSRVTT_{test,val,train}.full.csv, MSRVTT_data.json",
    Msvd = "msvd": "MSVD: {test,val,train}_list.txt, raw-captions.pkl",
    Lsmdc = "lsmdc": "LSMDC: LSMDC16_challenge_1000_publictect.csv and the like",
    Didemo = "didemo": "DiDeMo, a paragraph a video: {test,val,train}_list.txt, {test,val,train}_data.json",
    Activitynet = "activitynet": "ActivityNet, a paragraph a video: {val,train}_ids.json, val_1.json or train.json",
    Vatex = "vatex": "VATEX: test1k5_sec_list.txt or {test,val,train}_list.txt, vatex_data.json",
    Jsonl = "jsonl": "Your own JSON lines, {\"video\": \"a.mp4\", \"caption\": \"…\"}; the caption may be a list; start_s and end_s select a part",
});

#[cfg(feature = "eval")]
choices!(FrameRule {
    Clip4Clip = "clip4clip": "CLIP4Clip: the first frame of every second; spread evenly if there are too many",
    Clip2Video = "clip2video": "CLIP2Video: 5 frames a second, thinned evenly",
    ClipVip = "clip-vip": "CLIP-ViP: always the same number, spread evenly over all frames, repeated if there are fewer",
    Uniform = "uniform": "Spread evenly over all frames, none twice: as `index --window whole`",
});

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    /// Checks that a value has the same name here as in settings and reports.
    fn assert_named_as_in_files<T: ValueEnum + Serialize>() {
        for value in T::value_variants() {
            let offered = value.to_possible_value().unwrap();
            assert_eq!(serde_json::to_value(value).unwrap(), offered.get_name());
        }
    }

    #[test]
    fn a_value_has_one_name_everywhere() {
        assert_named_as_in_files::<Sampling>();
        #[cfg(feature = "eval")]
        {
            assert_named_as_in_files::<Set>();
            assert_named_as_in_files::<FrameRule>();
        }
    }
}
