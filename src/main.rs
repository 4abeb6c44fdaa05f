use std::time::{Duration, Instant};

use clipseek::decode::*;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) == Some("decode-child") {
        clipseek::decode::child::main();
    }
    // try: FILE SAMPLING INTERVAL|uN [THUMB] [DUMPDIR] [FROM]
    let request = Request {
        path: args[1].clone().into(),
        sampling: match args[2].as_str() {
            "auto" => Sampling::Auto,
            "keyframes" => Sampling::Keyframes,
            "gop" => Sampling::Gop,
            _ => Sampling::All,
        },
        want: match args[3].strip_prefix('u') {
            Some(n) => Want::Uniform(n.parse().unwrap()),
            None => Want::Every(Duration::from_secs_f64(args[3].parse().unwrap())),
        },
        tolerance: 0.25,
        from: Duration::from_secs_f64(args.get(6).map_or(0.0, |v| v.parse().unwrap())),
        pixels: PixelSpec {
            width: 224,
            height: 224,
            resize: Resize::ShortestEdge,
            interpolation: Interpolation::Bicubic,
            antialias: true,
        },
        thumbnail_px: args.get(4).and_then(|v| v.parse().ok()),
    };
    let start = Instant::now();
    let decoder = ChildDecoder::new(std::env::current_exe().unwrap());
    let mut frames = match decoder.open(&request, Default::default()) {
        Ok(frames) => frames,
        Err(error) => return println!("{} ERROR {error}", args[1]),
    };
    let opened = start.elapsed();
    let mut n = 0;
    let mut times = vec![];
    let mut error = None;
    while let Some(frame) = frames.next() {
        match frame {
            Ok(frame) => {
                n += 1;
                times.push(frame.pts.as_secs_f64());
                if let Some(dir) = args.get(5).filter(|d| *d != "-") {
                    std::fs::write(format!("{dir}/{n:04}.rgb"), &frame.pixels.data).unwrap();
                    std::fs::write(format!("{dir}/{n:04}.jpg"), &frame.thumbnail.unwrap().0).unwrap();
                }
            }
            Err(e) => error = Some(e.to_string()),
        }
    }
    let short: Vec<String> =
        times.iter().take(6).chain(times.iter().rev().take(1)).map(|t| format!("{t:.3}")).collect();
    println!(
        "{} frames={n} err={error:?} times={} open={opened:?} wall={:?}\n    {:?}\n    {:?}",
        args[1],
        short.join(","),
        start.elapsed(),
        frames.probe(),
        frames.outcome()
    );
}
