//! Library types whose values are offered on the command line: the name and the help of each value. The library knows
//! nothing of the command line, so it is said here.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::decode::Sampling;
#[cfg(feature = "onnx")]
use crate::embed::import::Variant;
#[cfg(feature = "eval")]
use crate::eval::{annotations::Set, sampling::FrameRule};

/// Offers all values of a type; one whose help is empty has none.
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
    Auto = "auto": "Key frames where they are near enough to the wanted times (within the bundle's tolerance), more where not",
    Keyframes = "keyframes": "Key frames only, however rare they are",
    Gop = "gop": "From each key frame to the last wanted frame behind it; exact times",
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
    Jsonl = "jsonl": "Your own: a line for each, {\"video\": \"a.mp4\", \"caption\": \"…\"}; the caption may be a list; start_s and end_s name a part",
});

#[cfg(feature = "eval")]
choices!(FrameRule {
    Clip4Clip = "clip4clip": "CLIP4Clip: the first frame of every second; spread evenly if there are too many",
    Clip2Video = "clip2video": "CLIP2Video: 5 frames a second, thinned evenly",
    ClipVip = "clip-vip": "CLIP-ViP: always the same number, spread evenly over all frames, repeated where there are fewer",
    Uniform = "uniform": "Spread evenly over all frames, none twice: as `index --window whole`",
});

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    /// Values that the settings or reports have too are called there what they are called here.
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
