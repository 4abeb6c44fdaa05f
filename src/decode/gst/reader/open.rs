//! Opens a file: chooses the graph that reads it, and reads ahead until it is known what it is and when it starts.

use super::*;

impl Reader {
    /// Returns when the first coded frame is there.
    pub(in crate::decode) fn open(source: &Source, tracks: &Tracks) -> Result<Self, DecodeError> {
        let pipeline = match source {
            Source::File(path) => {
                let pipeline = launch(&template::fill(template::READ_FILE, &[]))?;
                element::<gst::Element>(&pipeline, "input")?.set_property("location", path);
                pipeline
            }
            Source::Mended(mended) => {
                let pipeline = launch(&template::fill(template::READ_MENDED, &[]))?;
                serve(&element(&pipeline, "input")?, mended);
                pipeline
            }
            Source::Remains(remains) => {
                let pipeline = launch(&template::fill(template::READ_UNITS, &[]))?;
                units::serve_remains(&element(&pipeline, "input")?, remains)?;
                pipeline
            }
            Source::Stream(stream) => {
                let pipeline = launch(&template::fill(template::READ_UNITS, &[]))?;
                units::serve(&element(&pipeline, "input")?, stream)?;
                pipeline
            }
            Source::Program(program) => {
                let pipeline = launch(&template::fill(template::READ_UNITS, &[]))?;
                units::serve_program(&element(&pipeline, "input")?, program)?;
                pipeline
            }
            Source::Flv(flv) => {
                let pipeline = launch(&template::fill(template::READ_UNITS, &[]))?;
                units::serve_flv(&element(&pipeline, "input")?, flv)?;
                pipeline
            }
            Source::Ivf(ivf) => {
                let pipeline = launch(&template::fill(template::READ_FRAMES, &[]))?;
                units::serve_ivf(&element(&pipeline, "input")?, ivf)?;
                pipeline
            }
            Source::Gif(gif) => {
                let pipeline = launch(&template::fill(template::READ_FRAMES, &[]))?;
                units::serve_gif(&element(&pipeline, "input")?, gif)?;
                pipeline
            }
            Source::Jpegs(jpegs) => {
                let pipeline = launch(&template::fill(template::READ_FRAMES, &[]))?;
                units::serve_jpegs(&element(&pipeline, "input")?, jpegs)?;
                pipeline
            }
            Source::Obu(path) => {
                let pipeline = launch(&template::fill(template::READ_OBU, &[]))?;
                element::<gst::Element>(&pipeline, "input")?.set_property("location", path);
                pipeline
            }
        };
        let sink: gst_app::AppSink = element(&pipeline, "frames")?;
        let found = Arc::new(Mutex::new(Found::default()));
        // A header of our own has one track, whatever it is called, and a stream is one.
        let choice = if matches!(source, Source::File(_)) { tracks.clone() } else { Tracks::default() };
        match source {
            Source::Jpegs(_) => *lock(&found) = Found { bare: true, ..Found::single("image/jpeg") },
            Source::Obu(_) => *lock(&found) = Found { bare: true, ..Found::single("video/x-av1") },
            Source::Gif(_) => *lock(&found) = Found::single("image/gif"),
            Source::Stream(_) => lock(&found).container = Some("video/mpegts".to_owned()),
            Source::Program(_) => lock(&found).container = Some("video/mpeg".to_owned()),
            Source::Flv(_) => lock(&found).container = Some("video/x-flv".to_owned()),
            Source::Ivf(ivf) => {
                let container = Some("video/x-ivf".to_owned());
                *lock(&found) = Found { container, ..Found::single(ivf.media_type()) };
            }
            Source::Remains(_) => lock(&found).container = Some("video/x-matroska".to_owned()),
            Source::Mended(mended) => lock(&found).byte_stream = mended.film().byte_stream,
            Source::File(_) => {}
        }
        if !matches!(source, Source::Obu(_) | Source::Jpegs(_) | Source::Gif(_) | Source::Ivf(_)) {
            connect_tracks(&pipeline, &element(&pipeline, "tracks")?, &sink, &found, &choice);
        }
        let bus = pipeline.bus().expect("a pipeline has a bus");
        let mut reader = Self {
            pipeline,
            sink,
            bus,
            found,
            tracks: tracks.clone(),
            timeline: Timeline::default(),
            caps: None,
            inspector: Inspector::default(),
            finder: None,
            untimed: false,
            over: false,
            without_delay: false,
            half: None,
            whole: VecDeque::new(),
            least_size: None,
            shuffles: false,
            decoding_times: false,
            reorders: true,
            shown_with_next: false,
            has_headers: false,
            ahead: VecDeque::new(),
            zero: None,
            origin: 0,
            probe: Probe::default(),
            orientation: Orientation::default(),
            rest: None,
            reach: 0,
            begins: None,
            times: None,
            real_clock: None,
            path: match source {
                Source::File(path) => Some(path.clone()),
                _ => None,
            },
            mended: match source {
                Source::Mended(mended) => Some(mended.clone()),
                _ => None,
            },
            duration: None,
            next_number: 0,
            problems: match source {
                Source::Mended(mended) => mended.film().problems.clone(),
                Source::Remains(_) => {
                    let detail = "the container is damaged, and only what is left of it was read";
                    vec![Problem::new(ProblemKind::HeaderRepaired, detail)]
                }
                _ => Vec::new(),
            },
            problem: None,
            hopeless: false,
        };
        if reader.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(reader.failure());
        }
        match reader.pull()? {
            Some(first) => {
                match source {
                    Source::File(_) | Source::Remains(_) => reader.find_start(first)?,
                    Source::Mended(_) => (reader.zero, reader.ahead) = (Some(0), [first].into()),
                    Source::Gif(gif) => {
                        (reader.zero, reader.ahead) = (Some(first.0.pts), [first].into());
                        reader.duration = Some(gif.duration);
                    }
                    Source::Obu(_) | Source::Jpegs(_) | Source::Ivf(_) => {
                        (reader.zero, reader.ahead) = (Some(first.0.pts), [first].into());
                    }
                    Source::Stream(stream) => {
                        (reader.zero, reader.ahead) = (Some(stream.zero), [first].into());
                        reader.origin = stream.origin;
                        reader.duration = stream.duration;
                    }
                    Source::Program(program) => {
                        (reader.zero, reader.ahead) = (Some(program.zero), [first].into());
                        reader.origin = program.origin;
                        reader.duration = program.duration;
                        lock(&reader.found).tracks = program.tracks.clone();
                    }
                    Source::Flv(flv) => {
                        (reader.zero, reader.ahead) = (Some(flv.zero), [first].into());
                        let start = Duration::from_nanos(flv.zero.unsigned_abs());
                        reader.duration = flv.promised.or(flv.last.map(|last| last.saturating_sub(start)));
                        let mut found = lock(&reader.found);
                        found.others_reach = flv.last.and_then(|last| last.try_into().ok());
                        found.tracks = flv.tracks.clone();
                    }
                }
                reader.learn();
                if matches!(source, Source::Jpegs(_)) && reader.is_still()? {
                    return Err(DecodeError::StillPicture("image/jpeg".into()));
                }
                Ok(reader)
            }
            None => Err(reader.failure()),
        }
    }

    /// A JPEG picture alone in a file is a still one, also where a smaller one belongs to it; several are a video.
    fn is_still(&mut self) -> Result<bool, DecodeError> {
        let is_marked = |data: &[u8]| {
            let mut places = data.windows(MULTI_PICTURE.len()).take(LONGEST_JPEG_HEAD);
            places.any(|bytes| bytes == MULTI_PICTURE)
        };
        let first = self.ahead.front().and_then(|(_, coded)| coded.buffer.map_readable().ok());
        if first.is_some_and(|data| is_marked(&data)) {
            return Ok(true);
        }
        let second = self.pull()?;
        self.ahead.extend(second);
        Ok(self.ahead.len() < 2)
    }

    /// Reads ahead until it is known when all tracks begin.
    fn find_start(&mut self, first: (Packet, Coded)) -> Result<(), DecodeError> {
        let video = first.0.pts;
        let mut bytes = first.0.bytes;
        self.ahead.push_back(first);
        while lock(&self.found).sounds.are_missing(self.ahead.len(), bytes) {
            let Some(next) = self.pull()? else {
                self.wait_for_sound();
                break;
            };
            bytes += next.0.bytes;
            self.ahead.push_back(next);
        }
        if self.reorders && lock(&self.found).container.as_deref() == Some(TELLS_DECODING) {
            self.find_reordered()?;
        }
        let found = lock(&self.found);
        let first_shown = self.ahead.iter().map(|(packet, _)| packet.pts).min().unwrap_or(video);
        let begins_together = found.container.as_deref() == Some(BEGINS_TOGETHER);
        self.zero = self.begins.or(Some(if begins_together { first_shown } else { found.sounds.start(video) }));
        Ok(())
    }

    /// Reads ahead until it is known whether frames are shown in another order than that of decoding.
    fn find_reordered(&mut self) -> Result<(), DecodeError> {
        for number in 0..REORDERED_WITHIN {
            if number == self.ahead.len() {
                let Some(next) = self.pull()? else { break };
                self.ahead.push_back(next);
            }
            let frame = self.ahead[number].1.buffer.map_readable();
            if frame.is_ok_and(|frame| self.inspector.is_bidirectional(&frame)) {
                self.shown_with_next = true;
                break;
            }
        }
        Ok(())
    }

    /// The pictures of a short file may have ended while the first of its sound is on its way through a queue of its own.
    fn wait_for_sound(&self) {
        let until = Instant::now() + SOUND_WITHIN;
        let is_on_its_way = || {
            let found = lock(&self.found);
            found.sounds.is_any_unheard() && !found.others_ended
        };
        while is_on_its_way() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
