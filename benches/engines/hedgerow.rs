//! Hedgerow's own `forest` engine behind the protocol of `harness/harness.cpp`, so that it is
//! measured in the same run and the same way as its peers.
//!
//! Arguments: the rows' folder, a model file. Without them (a plain `cargo bench`) it only says how
//! it is run.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hedgerow::engine::{Choice, Engine, Format, Libraries, ModelFile, load};
use hedgerow::tensor::{Element, Matrix, Rows};
use rustix::time::{ClockId, clock_gettime};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FEATURES: usize = 30;
/// Rows per call while memory is measured and answers are written.
const WARM_ROWS: usize = 1000;
const BLOCKS: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The measured rows, in the width that the engine reads.
struct Served {
    f32: Rows,
    f64: Rows,
}

/// Calls of so many rows, ever other ones.
struct Loop<'a> {
    engine: &'a dyn Engine,
    slices: Vec<Rows>,
    /// One call's results.
    out: Vec<f64>,
    next: usize,
}

impl<'a> Loop<'a> {
    fn new(engine: &'a dyn Engine, served: &Served, count: usize) -> Loop<'a> {
        let rows = match engine.outline().element {
            Element::F32 => &served.f32,
            Element::F64 => &served.f64,
        };
        let slices = (0..rows.len() / count)
            .map(|slice| rows.slice(slice * count, (slice + 1) * count))
            .collect();
        Loop {
            engine,
            slices,
            out: vec![0.0; count * engine.outline().width()],
            next: 0,
        }
    }

    fn call(&mut self) -> Result<()> {
        if self.next == self.slices.len() {
            self.next = 0;
        }
        self.engine
            .predict(&self.slices[self.next], &mut self.out)?;
        self.next += 1;
        std::hint::black_box(&self.out);
        Ok(())
    }

    /// Nanoseconds per call.
    fn block(&mut self, calls: usize) -> Result<f64> {
        let start = used()?;
        for _ in 0..calls {
            self.call()?;
        }
        Ok((used()? - start).as_secs_f64() * 1e9 / calls as f64)
    }
}

/// Processor time of the whole process: other processes do not count, helper threads do.
fn used() -> Result<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

fn resident_bytes() -> Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).ok_or("statm is short")?.parse()?;
    Ok(pages * rustix::param::page_size())
}

fn read_rows(folder: &Path) -> Result<Served> {
    let bytes = std::fs::read(folder.join("rows.f32"))?;
    let values: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect();
    let wide = values.iter().map(|value| f64::from(*value)).collect();
    Ok(Served {
        f32: Rows::F32(Matrix::new(values, FEATURES).ok_or("rows of another width")?),
        f64: Rows::F64(Matrix::new(wide, FEATURES).ok_or("rows of another width")?),
    })
}

fn open(path: PathBuf) -> Result<Box<dyn Engine>> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let format = match extension {
        Some("json") => Format::XgboostJson,
        Some("txt") => Format::LightgbmText,
        Some("onnx") => Format::Onnx,
        _ => return Err(format!("no known format: {}", path.display()).into()),
    };
    let bytes = std::fs::read(&path)?;
    let file = ModelFile {
        format,
        path,
        bytes,
    };
    let none = Libraries {
        dir: PathBuf::new(),
    };
    Ok(load(&file, Choice::Forest, &none)?)
}

/// The column of the positive class's probability.
fn probability_column(engine: &dyn Engine) -> Result<usize> {
    let scores = engine
        .outline()
        .outputs
        .iter()
        .find(|output| output.name == "predict" || output.name == "probabilities")
        .ok_or("the model has no probabilities")?;
    Ok(scores.offset + scores.len() - 1)
}

/// ns per row, one value per block of calls that together take about `milliseconds`.
fn time(engine: &dyn Engine, served: &Served, rows: usize, milliseconds: f64) -> Result<Vec<f64>> {
    let mut calls_of = Loop::new(engine, served, rows);
    let block_ns = milliseconds * 1e6 / BLOCKS as f64;
    // Warms up and finds how many calls fill a block.
    let mut calls = 1;
    let mut call_ns = calls_of.block(calls)?;
    while call_ns * (calls as f64) < block_ns / 4.0 {
        calls *= 2;
        call_ns = calls_of.block(calls)?;
    }
    let calls = ((block_ns / call_ns) as usize).max(1);
    // Where a single call takes longer than all blocks should, few must do.
    let blocks = if call_ns > 2.0 * block_ns { 2 } else { BLOCKS };
    (0..blocks)
        .map(|_| Ok(calls_of.block(calls)? / rows as f64))
        .collect()
}

fn write_results(engine: &dyn Engine, served: &Served, path: &str, rows: usize) -> Result<()> {
    let column = probability_column(engine)?;
    let mut calls = Loop::new(engine, served, WARM_ROWS);
    let mut bytes = Vec::with_capacity(rows * 8);
    for _ in 0..rows / WARM_ROWS {
        calls.call()?;
        for row in calls.out.chunks_exact(engine.outline().width()) {
            bytes.extend_from_slice(&row[column].to_le_bytes());
        }
    }
    Ok(std::fs::write(path, bytes)?)
}

fn obey(engine: &dyn Engine, served: &Served, answers: &mut dyn Write) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["time", rows, milliseconds] => {
                let blocks = time(engine, served, rows.parse()?, milliseconds.parse()?)?;
                writeln!(answers, "{blocks:?}")?;
            }
            ["write", path, rows] => {
                write_results(engine, served, path, rows.parse()?)?;
                writeln!(answers, "{{}}")?;
            }
            _ => return Err(format!("no such command: {line}").into()),
        }
        answers.flush()?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut answers = std::io::stdout().lock();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, model] = &arguments[..] else {
        writeln!(answers, "this bench is run by `make bench-engines`")?;
        return Ok(());
    };
    let served = read_rows(Path::new(folder))?;
    let before = resident_bytes()?;
    let start = used()?;
    let engine = open(PathBuf::from(model))?;
    let load_ms = (used()? - start).as_secs_f64() * 1e3;
    let mut warm = Loop::new(engine.as_ref(), &served, WARM_ROWS);
    for _ in 0..warm.slices.len() {
        warm.call()?;
    }
    drop(warm);
    let memory_bytes = resident_bytes()?.saturating_sub(before);
    writeln!(
        answers,
        "{{\"load_ms\":{load_ms},\"memory_bytes\":{memory_bytes}}}"
    )?;
    answers.flush()?;
    obey(engine.as_ref(), &served, &mut answers)
}
