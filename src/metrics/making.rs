//! Makes metrics and the rows that document them, in one step.

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
};

use super::Row;

/// Registers metrics, and notes them for the documentation.
#[derive(Default)]
pub(super) struct Making {
    pub(super) registry: Registry,
    rows: Vec<Row>,
}

/// All names are constants, and a test makes them.
const VALID: &str = "a valid name that is not taken";

impl Making {
    fn note<C: Collector + Clone + 'static>(&mut self, collector: C, kind: &'static str) -> C {
        for desc in collector.desc() {
            let (name, labels) = (desc.fq_name.clone(), desc.variable_labels.clone());
            self.rows.push(Row { name, kind, labels, help: desc.help.clone() });
        }
        self.registry.register(Box::new(collector.clone())).expect(VALID);
        collector
    }

    pub(super) fn counters(&mut self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        self.note(IntCounterVec::new(Opts::new(name, help), labels).expect(VALID), "counter")
    }

    pub(super) fn float_counters(&mut self, name: &str, labels: &[&str], help: &str) -> CounterVec {
        self.note(CounterVec::new(Opts::new(name, help), labels).expect(VALID), "counter")
    }

    pub(super) fn gauges(&mut self, name: &str, labels: &[&str], help: &str) -> GaugeVec {
        self.note(GaugeVec::new(Opts::new(name, help), labels).expect(VALID), "gauge")
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.note(Gauge::new(name, help).expect(VALID), "gauge")
    }

    pub(super) fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.note(Counter::new(name, help).expect(VALID), "counter")
    }

    pub(super) fn histograms(&mut self, name: &str, labels: &[&str], help: &str, buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.note(HistogramVec::new(options, labels).expect(VALID), "histogram")
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.note(Histogram::with_opts(options).expect(VALID), "histogram")
    }

    /// All rows by name.
    pub(super) fn finish(mut self) -> Vec<Row> {
        self.rows.sort_by(|a, b| a.name.cmp(&b.name));
        self.rows
    }
}
