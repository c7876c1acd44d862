//! What is known of leaks, as people read it: aligned text of at most 110 columns, or HTML.

use super::level::Level;
use super::report::{LeakKind, LeakReport, in_one_line};
use super::sites::SiteCount;
use super::stack::Frame;
use crate::pool::Owner;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Columns of the text at most.
const WIDTH: usize = 110;
/// Columns of an owner's name in a table where others follow.
const OWNER_WIDTH: usize = 60;
/// Calls shown of a stack: enough to get out of a helper.
const CALLS: usize = 4;
/// Uses shown of a buffer, the latest.
const TOUCHES: usize = 2;
/// Calls of the tracker's own, with which every Rust stack begins.
const OWN_CALLS: [&str; 5] =
    ["backtrace::", "<backtrace::", "ironcliw_actors::leak", "ironcliw_actors::pool", "core::"];

/// Live leases of an owner and class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Total {
    /// The owner.
    pub owner: Owner,
    /// Bytes of one block of the class; 0 for the huge class.
    pub class_size: usize,
    /// Leases.
    pub count: u64,
    /// Bytes of their blocks.
    pub bytes: u64,
}

/// Everything known: what lives, what leaks, and what could not be seen. `Display` is the table.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Table {
    /// What lives, by owner and class; exact.
    pub totals: Vec<Total>,
    /// What leaks.
    pub leaks: Vec<LeakReport>,
    /// The level in force.
    pub level: Level,
    /// One lease in so many is recorded at `simple` and `advanced`.
    pub sample_every: u32,
    /// Open scopes, for as long as which every lease is recorded.
    pub scopes: u32,
    /// Events that the full channel dropped, ever.
    pub lost_events: u64,
    /// Leases that should have a record and have none, as the system had no memory for it or the tracker had too many, ever.
    pub lost_records: u64,
    /// Records without the calls that they should have, for want of memory, ever.
    pub lost_stacks: u64,
}

impl Table {
    fn headline(&self) -> String {
        headline(&self.leaks)
    }

    fn total_rows(&self) -> Vec<Vec<String>> {
        let row = |total: &Total| {
            let Total { owner, class_size, count, bytes } = *total;
            vec![shortened(owner.name(), OWNER_WIDTH), class(class_size), count.to_string(), human(bytes)]
        };
        let (count, bytes) = self.totals.iter().fold((0, 0), |sum, total| (sum.0 + total.count, sum.1 + total.bytes));
        let sum = vec!["all".to_owned(), String::new(), count.to_string(), human(bytes)];
        self.totals.iter().map(row).chain([sum]).collect()
    }

    /// What the reader should know about what is not here.
    fn fine_print(&self) -> Vec<String> {
        let every = self.sample_every;
        let mut lines = vec!["Live counts are exact: every lease of the pool, whatever the level.".to_owned()];
        lines.push(match self.level {
            _ if self.scopes > 0 => {
                let scopes = self.scopes;
                format!(
                    "Level {}, {scopes} open scopes: leases have a record now, those before had it by the level.",
                    self.level
                )
            }
            Level::Disabled => {
                "Level disabled: no lease has a record, so none can be too old or tell its site.".to_owned()
            }
            Level::Paranoid => "Level paranoid: every lease has a record.".to_owned(),
            Level::Simple | Level::Advanced => format!(
                "Level {}: 1 in {every} leases has a record, and all tracked ones; only these can be too old or tell \
                 their site.",
                self.level
            ),
        });
        if self.lost_events > 0 {
            lines.push(format!(
                "{} events were lost: of their leases a use may be missing, or all that a record says.",
                self.lost_events
            ));
        }
        if self.lost_records > 0 {
            lines.push(format!(
                "{} leases have no record although they should: there was no memory for it, or there were too many.",
                self.lost_records
            ));
        }
        if self.lost_stacks > 0 {
            lines.push(format!("{} records have no calls: there was no memory for them.", self.lost_stacks));
        }
        lines
    }

    /// The same as HTML, a fragment that a notebook can show.
    pub fn to_html(&self) -> String {
        let mut html = format!("<div class=\"ironcliw-leaks\"><p><b>{}</b></p>", escaped(&self.headline()));
        if !self.totals.is_empty() {
            html_table(&mut html, &TOTALS, &self.total_rows());
        }
        if !self.leaks.is_empty() {
            let columns = [&LEAKS[..], &[Column { head: "details", right: false }]].concat();
            let row = |leak| [leak_row(leak), vec![details(leak).join("\n")]].concat();
            html_table(&mut html, &columns, &self.leaks.iter().map(row).collect::<Vec<_>>());
        }
        let fine_print: Vec<String> = self.fine_print().iter().map(|line| escaped(line)).collect();
        let _ = write!(html, "<p><small>{}</small></p></div>", fine_print.join("<br>"));
        html
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        if !self.totals.is_empty() {
            f.write_str("\nLive\n")?;
            text_table(f, &TOTALS, &self.total_rows(), |_| Vec::new())?;
        }
        if !self.leaks.is_empty() {
            f.write_str("\nLeaks\n")?;
            write_leaks(f, &self.leaks)?;
        }
        f.write_str("\n")?;
        let fine_print = self.fine_print();
        fine_print.iter().try_for_each(|line| wrapped(line, WIDTH).iter().try_for_each(|line| writeln!(f, "{line}")))
    }
}

/// Reports alone, as they stand in an error.
pub(super) struct Findings<'a>(pub(super) &'a [LeakReport]);

impl fmt::Display for Findings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", headline(self.0))?;
        if self.0.is_empty() { Ok(()) } else { write_leaks(f, self.0) }
    }
}

/// Reports alone as text: a headline and a table.
pub fn describe(reports: &[LeakReport]) -> String {
    Findings(reports).to_string()
}

fn headline(leaks: &[LeakReport]) -> String {
    let (buffers, bytes) = leaks.iter().fold((0, 0), |sum, leak| (sum.0 + leak.equal, sum.1 + leak.bytes));
    match leaks.len() {
        0 => "No leaks.".to_owned(),
        places => format!("{}: {}, {}.", counted(places as u64, "leak"), counted(buffers, "buffer"), human(bytes)),
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[derive(Debug, Clone, Copy)]
struct Column {
    head: &'static str,
    right: bool,
}

const TOTALS: [Column; 4] = [
    Column { head: "owner", right: false },
    Column { head: "class", right: true },
    Column { head: "buffers", right: true },
    Column { head: "bytes", right: true },
];

const LEAKS: [Column; 6] = [
    Column { head: "kind", right: false },
    Column { head: "equal", right: true },
    Column { head: "bytes", right: true },
    Column { head: "class", right: true },
    Column { head: "age", right: true },
    Column { head: "owner", right: false },
];

fn write_leaks(f: &mut fmt::Formatter<'_>, leaks: &[LeakReport]) -> fmt::Result {
    let rows: Vec<_> = leaks.iter().map(leak_row).collect();
    text_table(f, &LEAKS, &rows, |row| details(&leaks[row]))
}

fn leak_row(leak: &LeakReport) -> Vec<String> {
    let age = if leak.age.is_zero() { "-".to_owned() } else { span(leak.age) };
    let owner = leak.owner.name().to_owned();
    vec![leak.kind.to_string(), leak.equal.to_string(), human(leak.bytes), class(leak.class_size), age, owner]
}

/// What else is known of a leak, a line each.
fn details(leak: &LeakReport) -> Vec<String> {
    let mut lines = Vec::new();
    match leak.kind {
        LeakKind::Growing => {
            let counts: Vec<String> = leak.counts.iter().map(u64::to_string).collect();
            lines.push(format!("fewest live, each {}: {}", span(leak.window), counts.join(" < ")));
            lines.extend(below("sites", leak.sites.iter().map(site_line)));
            if leak.sites.is_empty() {
                lines.push(
                    "sites  unknown: none of those that live has a record (at `paranoid` all have one)".to_owned(),
                );
            }
        }
        LeakKind::OutlivedOwner => {
            lines.push(format!("incarnation {} of its owner crashed", leak.incarnation.unwrap_or(0)));
        }
        LeakKind::DroppedUnreleased | LeakKind::TooOld | LeakKind::StillOut => {}
    }
    lines.extend(leak.site.as_ref().map(|site| format!("site   {site}")));
    lines.extend(leak.task.as_ref().map(|task| format!("task   {task}")));
    let own = |frame: &&Frame| OWN_CALLS.iter().any(|own| frame.function.starts_with(own));
    let calls = leak.frames.iter().filter(|frame| !own(frame)).take(CALLS);
    lines.extend(below("calls", calls));
    lines.extend(below("used", leak.touches.iter().take(TOUCHES)));
    lines
}

fn site_line(of: &SiteCount) -> String {
    let site = of.site.as_deref().unwrap_or("unknown");
    format!("{site} ({} that live have a record, {} since it grows)", of.live, of.recent)
}

/// A line each, the first with a head.
fn below<T: fmt::Display>(head: &str, lines: impl Iterator<Item = T>) -> Vec<String> {
    lines.enumerate().map(|(at, line)| format!("{:<5}  {line}", if at == 0 { head } else { "" })).collect()
}

/// Aligned columns, and below each row its details.
fn text_table(
    f: &mut fmt::Formatter<'_>,
    columns: &[Column],
    rows: &[Vec<String>],
    details: impl Fn(usize) -> Vec<String>,
) -> fmt::Result {
    let widest = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> =
        columns.iter().enumerate().map(|(at, column)| widest(at).max(column.head.chars().count())).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, column), &width) in cells.zip(columns).zip(&widths) {
            let _ = if column.right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        shortened(line.trim_end(), WIDTH)
    };
    writeln!(f, "{}", line(&mut columns.iter().map(|column| column.head)))?;
    for (at, row) in rows.iter().enumerate() {
        writeln!(f, "{}", line(&mut row.iter().map(String::as_str)))?;
        for detail in details(at) {
            writeln!(f, "    {}", shortened(&detail, WIDTH - 4))?;
        }
    }
    Ok(())
}

fn html_table(html: &mut String, columns: &[Column], rows: &[Vec<String>]) {
    let align = |column: &Column| if column.right { "right" } else { "left" };
    html.push_str("<table><tr>");
    for column in columns {
        let _ = write!(html, "<th style=\"text-align:{}\">{}</th>", align(column), column.head);
    }
    html.push_str("</tr>");
    for row in rows {
        html.push_str("<tr>");
        for (cell, column) in row.iter().zip(columns) {
            let cell = escaped(cell).replace('\n', "<br>");
            let _ = write!(html, "<td style=\"text-align:{}\">{cell}</td>", align(column));
        }
        html.push_str("</tr>");
    }
    html.push_str("</table>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn class(size: usize) -> String {
    if size == 0 { "huge".to_owned() } else { human(size as u64) }
}

/// Three digits and a binary unit: `512 B`, `8.79 KiB`, `1.25 MiB`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    // What would be printed as 1000 is of the next unit.
    while unit + 1 < UNITS.len() && value >= if unit == 0 { 1024.0 } else { 999.5 } {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value >= 99.95 || unit == 0 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let number = format!("{value:.digits$}");
    let number = if digits > 0 { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number} {}", UNITS[unit])
}

/// `0.52 s`, `12 s`, `5 min 10 s`, `2 h 3 min`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.2} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// As much of the text as fits, and an ellipsis if that is not all. What would end the line or steer a terminal is shown as what
/// it is: names of tasks and places may come from outside.
fn shortened(text: &str, width: usize) -> String {
    let text = in_one_line(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_written_as_people_say_them() {
        let sizes = [0, 64, 1023, 1024, 1280, 9000, 1 << 20, 1_023_000, 6_220_800, 5 << 30, u64::MAX];
        let told = [
            "0 B", "64 B", "1023 B", "1 KiB", "1.25 KiB", "8.79 KiB", "1 MiB", "999 KiB", "5.93 MiB", "5 GiB", "16 EiB",
        ];
        assert_eq!(sizes.map(human), told);
        let times = [0.0, 0.52, 9.994, 59.9, 310.0, 7380.0].map(|seconds| span(Duration::from_secs_f64(seconds)));
        assert_eq!(times, ["0.00 s", "0.52 s", "9.99 s", "59 s", "5 min 10 s", "2 h 3 min"]);
    }

    #[test]
    fn a_table_is_aligned_and_fits_whatever_it_has_to_say() {
        let leak = |kind, owner: &str| LeakReport {
            id: None,
            kind,
            equal: 3,
            new: 3,
            bytes: 9000,
            class_size: 3072,
            owner: Owner::named(owner),
            incarnation: Some(2),
            site: Some(format!("{}.py:12", "ä".repeat(150))),
            age: Duration::from_millis(520),
            task: Some("load\u{1b}[2J\ner".into()),
            touches: vec![],
            touches_dropped: 0,
            sites: vec![SiteCount { site: Some("p".repeat(200)), live: 9, recent: 8 }],
            counts: (0..40).map(|count| 1_000_000 + count).collect(),
            window: Duration::from_secs(10),
            frames: vec![Frame { function: "<f> & g".repeat(40), file: Some("a.py".into()), line: Some(3) }; 9],
        };
        let mut table = Table {
            totals: vec![Total { owner: Owner::named(&"o".repeat(200)), class_size: 0, count: 3, bytes: 9216 }],
            leaks: LeakKind::ALL.map(|kind| leak(kind, &"images/0".repeat(30))).to_vec(),
            level: Level::Simple,
            sample_every: 128,
            scopes: 0,
            lost_events: 7,
            lost_records: 11,
            lost_stacks: 12,
        };
        let text = table.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("    task   load\\u{1b}[2J\\ner\n"), "{text}");
        assert!(text.starts_with("5 leaks: 15 buffers, 43.9 KiB.\n"), "{text}");
        assert!(LeakKind::ALL.iter().all(|kind| text.contains(kind.as_str())), "{text}");
        assert!(text.contains("1 in 128 leases") && text.contains("7 events were lost"), "{text}");
        assert!(text.contains("11 leases have no record") && text.contains("12 records have no calls"), "{text}");
        let html = table.to_html();
        assert!(html.contains("&lt;f&gt; &amp; g") && !html.contains("<f>"), "{html}");
        table.leaks.clear();
        assert!(table.to_string().starts_with("No leaks.\n"));
    }
}
