//! Traces, received as a collector receives them, and the log that programs read.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Content;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::*;

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let of_scopes = request.into_inner().resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
        self.0.lock().unwrap().extend(of_scopes.flat_map(|spans| spans.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn named(&self, name: &str) -> Vec<Span> {
        self.0.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Content::StringValue(text) => Some(text),
        _ => None,
    }
}

#[test]
fn a_collector_gets_what_was_done_for_each_request_and_medium() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, listener) = (Collector::default(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let service = TraceServiceServer::new(collector.clone());
    runtime.spawn(async move {
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });

    let (world, videos) = world();
    let video = videos.join("a.mp4");
    std::fs::copy(footage("h264.mp4"), &video).unwrap();
    let config = world.dir.path().join("clipseek.toml");
    std::fs::write(&config, format!("[telemetry]\notlp_url = \"{url}\"\n")).unwrap();
    let daemon = serve(&world, &["--config", text(&config), text(&videos)]);
    daemon.until_indexed(&video);
    daemon.json("/v1/search?text=the+secret+heart");
    assert_eq!(daemon.end(), Some(0));

    let medium = collector.named("medium").pop().unwrap();
    assert_eq!(attribute(&medium, "path"), Some(text(&video)));
    for part in ["embed", "store"] {
        let spans = collector.named(part);
        assert!(!spans.is_empty() && spans.iter().all(|span| span.trace_id == medium.trace_id), "{part}: {spans:?}");
    }
    let requests = collector.named("request");
    let asked = requests.iter().find(|span| attribute(span, "path") == Some("/v1/search")).unwrap();
    for part in ["search", "prepare", "encode", "find"] {
        assert!(collector.named(part).iter().any(|span| span.trace_id == asked.trace_id), "{part}");
    }
    let told = format!("{:?}", collector.0.lock().unwrap());
    assert!(!told.contains("secret"), "what was looked for is nobody's business");
}

#[test]
fn a_collector_that_is_away_holds_nothing_up() {
    let (world, videos) = world();
    let video = videos.join("a.mp4");
    std::fs::copy(footage("h264.mp4"), &video).unwrap();
    let config = world.dir.path().join("clipseek.toml");
    std::fs::write(&config, "[telemetry]\notlp_url = \"http://127.0.0.1:9\"\n").unwrap();
    let daemon = serve(&world, &["--config", text(&config), text(&videos)]);
    daemon.until_indexed(&video);
    assert_eq!(daemon.end(), Some(0));
    std::fs::write(&config, "[telemetry]\notlp_url = \"collector:4317\"\n").unwrap();
    let ran = world.run(&["serve", "--config", text(&config)]);
    assert!(ran.code == 2 && ran.err.contains("telemetry.otlp_url must begin with http://"), "{ran:?}");
}

#[test]
fn without_a_terminal_each_message_is_a_line_of_json_with_the_time() {
    let (world, videos) = world();
    std::fs::write(videos.join("broken.mp4"), b"....ftypisom....no more than a beginning").unwrap();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until_indexed(&videos.join("a.mp4"));
    daemon.until_idle();
    let said = daemon.said();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        let time = line["timestamp"].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok() && line["level"].is_string(), "{line}");
    }
    let of = |begin: &str| {
        let said = |line: &&Value| line["message"].as_str().is_some_and(|message| message.starts_with(begin));
        lines.iter().find(said).unwrap_or_else(|| panic!("{begin}: {said_all}", said_all = daemon.said()))
    };
    assert_eq!(of("listening on http://")["level"], "INFO");
    assert!(of("failed: ")["message"].as_str().unwrap().contains("broken.mp4"));
    assert_eq!(of("indexed")["path"], text(&videos.join("a.mp4")));
}
