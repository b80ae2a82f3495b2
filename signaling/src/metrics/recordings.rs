//! The archive's part of `/metrics`: what the recorder has counted, under names and units of the page.
//!
//! Owns names only; the numbers are values of [`Figures`]. A server without an archive shows none of
//! it, so that a missing family says so.

use recorder::counters::{Counter, Figures, Gauge};

use super::Page;

/// How a counter is called, what it is, and which.
#[rustfmt::skip]
const COUNTERS: [(&str, &str, Counter); 12] = [
    ("recordings_begun_total", "Recordings begun.", Counter::Begun),
    ("recordings_resumed_total", "Recordings that went on after they had lost their writer.", Counter::Resumed),
    ("recordings_closed_total", "Recordings closed by their writer.", Counter::Closed),
    ("recordings_salvaged_total", "Recordings closed without their writer.", Counter::Salvaged),
    ("recordings_expired_total", "Recordings destroyed at their date.", Counter::Expired),
    ("recording_packets_total", "Packets durably in journals.", Counter::Packets),
    ("recording_bytes_total", "Bytes of packets durably in journals, before sealing.", Counter::Bytes),
    ("recording_uploads_total", "Files that the object store has shown to have.", Counter::Uploaded),
    ("recording_uploads_failed_total", "Attempts to bring a recording into the object store that failed.", Counter::UploadsFailed),
    ("recording_replays_released_total", "Shares released for a replay.", Counter::Released),
    ("recording_replays_refused_total", "Releases refused.", Counter::Refused),
    ("recording_audit_failures_total", "Lines of the audit or the log that could not be written.", Counter::AuditFailed),
];

#[rustfmt::skip]
const GAUGES: [(&str, &str, Gauge); 4] = [
    ("recordings_open", "Recordings being made now.", Gauge::Open),
    ("recordings_interrupted", "Recordings of which nothing reaches the disk now.", Gauge::Interrupted),
    ("recording_uploads_waiting", "Files that wait for the object store.", Gauge::UploadsWaiting),
    ("recording_upload_outage", "1 while the object store does not answer.", Gauge::UploadOutage),
];

impl Page {
    pub(super) fn recordings(&mut self, figures: &Figures) {
        for (name, help, what) in COUNTERS {
            let value = figures.count(what);
            self.family(name, "counter", help).value("", value);
        }
        for (name, help, what) in GAUGES {
            let value = figures.gauge(what);
            self.family(name, "gauge", help).value("", value);
        }
        let help = "Interruptions of recordings, by reason.";
        let mut family = self.family("recordings_interrupted_total", "counter", help);
        for (reason, value) in figures.interruptions() {
            family.value(&format!("{{reason=\"{reason}\"}}"), value);
        }
        let help = "Spans missing in recordings, by reason.";
        let mut family = self.family("recording_gaps_total", "counter", help);
        for (reason, value) in figures.gaps() {
            family.value(&format!("{{reason=\"{reason}\"}}"), value);
        }
        let help = "How long the disk took to make what is new durable.";
        let mut family = self.family("recording_flush_seconds", "histogram", help);
        family.histogram("", figures.flushes(), figures.flush_total().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use recorder::counters::Counters;
    use recorder::journal::body::GapReason;

    use crate::metrics::Metrics;

    use super::*;

    #[test]
    fn a_server_with_an_archive_shows_every_figure_of_it() {
        let counters = Counters::default();
        counters.count(Counter::Begun);
        counters.rise(Gauge::Open);
        counters.gap(GapReason::Disk);
        counters.flushed(Duration::from_millis(7));
        let metrics = Metrics::default();
        let page = metrics.render(0, Some(&counters.figures()));
        for line in [
            "consilium_recordings_begun_total 1\n",
            "consilium_recordings_open 1\n",
            "consilium_recording_audit_failures_total 0\n",
            "consilium_recordings_interrupted_total{reason=\"disk_full\"} 0\n",
            "consilium_recording_gaps_total{reason=\"disk\"} 1\n",
            "consilium_recording_gaps_total{reason=\"consent\"} 0\n",
            "consilium_recording_flush_seconds_bucket{le=\"0.005\"} 0\n",
            "consilium_recording_flush_seconds_bucket{le=\"0.01\"} 1\n",
            "consilium_recording_flush_seconds_bucket{le=\"+Inf\"} 1\n",
            "consilium_recording_flush_seconds_sum 0.007000\n",
            "consilium_recording_flush_seconds_count 1\n",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(!metrics.render(0, None).contains("consilium_recording"));
    }

    #[test]
    fn every_counter_has_a_name() {
        let numbers: Vec<_> = COUNTERS.iter().map(|(_, _, what)| *what as usize).collect();
        assert_eq!(
            numbers,
            (0..=Counter::AuditFailed as usize).collect::<Vec<_>>()
        );
        let numbers: Vec<_> = GAUGES.iter().map(|(_, _, what)| *what as usize).collect();
        assert_eq!(
            numbers,
            (0..=Gauge::UploadOutage as usize).collect::<Vec<_>>()
        );
    }
}
