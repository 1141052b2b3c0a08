//! `infraflow logs`: a run's lines from the start, and live ones until it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use infraflow_bus::Bell;

use super::load_config;
use super::run::end_line;
use crate::api::client::Client;
use crate::api::types::{LogAnswer, LogItem, LogQuery, RunDetail, RunRef};
use crate::api::verb;
use crate::cli::{Global, LogsArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{DIM, Format, RED, YELLOW, json_line, line, note, safe, styled};

/// Lines in one answer.
const PAGE: usize = 1_000;

/// How long to wait for a ring before looking all the same: the bell is a plain
/// subscription and may miss one.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long lines of a run that has ended may take to arrive.
const LATE_LINES: Duration = Duration::from_secs(2);

/// How long a run that was asked for may take to exist: its event is durable, the
/// host may be busy.
const NEW_RUN_PATIENCE: Duration = Duration::from_secs(60);

/// How often lines that are late are looked for.
const LATE_INTERVAL: Duration = Duration::from_millis(20);

/// Prints the lines.
pub(crate) async fn run(global: &Global, args: LogsArgs) -> Outcome {
    let config = load_config(global)?;
    let client = Client::connect(&config).await?;
    let mut reader = Reader::new(args.run, global.output, args.timestamps, args.step);
    let steps = reader.detail(&client).await?.steps;
    reader.align(steps.iter().map(|step| step.id.len()));
    reader.page(&client).await?;
    if args.follow {
        reader.follow(&client).await?;
    } else {
        while reader.more {
            reader.page(&client).await?;
        }
    }
    if reader.is_ended {
        reader.report_lost(&client).await?;
    }
    if args.follow && global.output == Format::Text {
        note(&end_line(&reader.detail(&client).await?.run));
    }
    Ok(Exit::Success)
}

/// Reads a run's lines in order and prints them.
pub(crate) struct Reader {
    run: String,
    format: Format,
    timestamps: bool,
    only_step: Option<String>,
    next: u64,
    more: bool,
    pub(crate) is_ended: bool,
    seen: BTreeMap<(String, u32), u64>,
    step_width: usize,
}

impl Reader {
    /// A reader at the beginning.
    pub(crate) fn new(
        run: String,
        format: Format,
        timestamps: bool,
        only_step: Option<String>,
    ) -> Self {
        Self {
            run,
            format,
            timestamps,
            only_step,
            next: 0,
            more: false,
            is_ended: false,
            seen: BTreeMap::new(),
            step_width: 0,
        }
    }

    /// Aligns the names of these steps.
    pub(crate) fn align(&mut self, steps: impl Iterator<Item = usize>) {
        self.step_width = steps.max().unwrap_or(0);
    }

    /// Reads and prints a page.
    pub(crate) async fn page(&mut self, client: &Client) -> Result<usize, Failure> {
        let query = LogQuery {
            run: self.run.clone(),
            from: self.next,
            limit: PAGE,
        };
        let answer: LogAnswer = client.ask(verb::LOGS_READ, &query).await?;
        self.run = answer.run;
        self.next = answer.next;
        self.more = answer.more;
        self.is_ended = answer.is_ended;
        let count = answer.lines.len();
        for item in answer.lines {
            *self
                .seen
                .entry((item.step.clone(), item.attempt))
                .or_default() += 1;
            if self
                .only_step
                .as_ref()
                .is_none_or(|step| *step == item.step)
            {
                self.print(&item)?;
            }
        }
        Ok(count)
    }

    /// Reads on until the run has ended and every line is there, or does not
    /// come any more.
    pub(crate) async fn follow(&mut self, client: &Client) -> Result<(), Failure> {
        let run = self
            .run
            .parse()
            .map_err(|_| Failure::new(Exit::Failure, "the host named a run that is none"))?;
        let mut bell = Bell::of_run(client.bus(), run)
            .await
            .map_err(|error| Failure::new(Exit::Unreachable, error))?;
        loop {
            match self.page(client).await {
                Ok(_) if self.more => continue,
                Ok(_) if self.is_ended => break,
                Ok(_) => {}
                // NATS or the host is away: lines are where they were.
                Err(failure) if failure.exit == Exit::Unreachable => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Err(failure) => return Err(failure),
            }
            // Time alone counts when the bell is silent.
            drop(tokio::time::timeout(LOOK_INTERVAL, bell.ring()).await);
        }
        self.wait_for_late_lines(client).await
    }

    /// As [`Reader::follow`], for a run that was asked for just now and may not
    /// exist yet.
    pub(crate) async fn follow_new(&mut self, client: &Client) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + NEW_RUN_PATIENCE;
        loop {
            match self.page(client).await {
                Err(failure) if failure.exit == Exit::NotFound => {
                    if tokio::time::Instant::now() > deadline {
                        return Err(failure);
                    }
                    tokio::time::sleep(LATE_INTERVAL).await;
                }
                Err(failure) => return Err(failure),
                Ok(_) => return self.follow(client).await,
            }
        }
    }

    async fn wait_for_late_lines(&mut self, client: &Client) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + LATE_LINES;
        while self.missing(client).await? > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LATE_INTERVAL).await;
            self.page(client).await?;
            while self.more {
                self.page(client).await?;
            }
        }
        Ok(())
    }

    async fn detail(&self, client: &Client) -> Result<RunDetail, Failure> {
        let run = self.run.clone();
        client.ask(verb::RUNS_SHOW, &RunRef { run }).await
    }

    async fn missing(&self, client: &Client) -> Result<u64, Failure> {
        let lost = self.lost_of(&self.detail(client).await?);
        Ok(lost.into_iter().map(|(_, _, lost)| lost).sum())
    }

    /// Attempts that lost lines, and how many each.
    fn lost_of(&self, detail: &RunDetail) -> Vec<(String, u32, u64)> {
        let attempts = detail
            .steps
            .iter()
            .flat_map(|step| step.attempts.iter().map(move |attempt| (step, attempt)));
        attempts
            .filter_map(|(step, attempt)| {
                let key = (step.id.clone(), attempt.attempt);
                let lost = attempt
                    .lines
                    .saturating_sub(self.seen.get(&key).copied().unwrap_or(0));
                (lost > 0).then_some((step.id.clone(), attempt.attempt, lost))
            })
            .collect()
    }

    /// Says which lines are missing.
    pub(crate) async fn report_lost(&self, client: &Client) -> Result<(), Failure> {
        for (step, attempt, lost) in self.lost_of(&self.detail(client).await?) {
            let text = format!("log lines lost of step `{step}`, attempt {attempt}: {lost}");
            note(&styled(YELLOW, &text));
        }
        Ok(())
    }

    fn print(&self, item: &LogItem) -> Result<(), Failure> {
        if self.format == Format::Json {
            return json_line(item);
        }
        let mut text = String::new();
        if self.timestamps {
            text.push_str(&styled(DIM, &format!("{:.3} ", item.time)));
        }
        let attempt = if item.attempt > 1 {
            format!("#{}", item.attempt)
        } else {
            String::new()
        };
        let name = format!("{}{attempt}", item.step);
        let width = self.step_width;
        text.push_str(&styled(DIM, &format!("{name:<width$} | ")));
        let line_text = safe(&item.text);
        text.push_str(&match item.level.as_str() {
            "error" => styled(RED, &line_text),
            "warn" => styled(YELLOW, &line_text),
            "debug" => styled(DIM, &line_text),
            _ => line_text,
        });
        line(&text)
    }
}
