//! Talks as the text that a model was trained on: the model's own template of a chat.

use crate::gguf::GgufFile;
use crate::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value, context};

/// A turn of a talk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whose it is: `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// What the model is told to be.
    pub fn system(content: impl Into<String>) -> Self {
        Self::of("system", content)
    }

    /// What a person says.
    pub fn user(content: impl Into<String>) -> Self {
        Self::of("user", content)
    }

    /// What the model said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::of("assistant", content)
    }

    fn of(role: &str, content: impl Into<String>) -> Self {
        Self {
            role: role.to_string(),
            content: content.into(),
        }
    }
}

/// A template in Jinja that turns a talk into a prompt. It can compute, but reach nothing outside itself.
/// Talks that ask for a summary or a translation are in [`prompts`](crate::prompts).
///
/// ```
/// use refrain_sequence::{ChatTemplate, Message};
/// let template = ChatTemplate::new(
///     "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
///      {% if add_generation_prompt %}<assistant>{% endif %}",
/// )?;
/// assert_eq!(template.prompt(&[Message::user("Hello")])?, "<user>Hello<assistant>");
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    origin: String,
    begin: String,
    end: String,
}

/// Steps that a template may take: endless loops end.
const FUEL: u64 = 1_000_000;
const NAME: &str = "chat";

impl ChatTemplate {
    /// A template.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where it is no Jinja, with the line.
    pub fn new(template: &str) -> Result<Self> {
        Self::of(template, "the chat template")
    }

    fn of(template: &str, origin: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| Error::tokenizer(origin, error))?);
        environment.set_fuel(Some(FUEL));
        environment.add_function(
            "raise_exception",
            |reason: String| -> std::result::Result<String, minijinja::Error> {
                Err(minijinja::Error::new(
                    minijinja::ErrorKind::InvalidOperation,
                    reason,
                ))
            },
        );
        environment
            .add_template_owned(NAME, template.to_string())
            .map_err(|error| Error::tokenizer(origin, error))?;
        Ok(Self {
            environment,
            origin: origin.to_string(),
            begin: String::new(),
            end: String::new(),
        })
    }

    /// The same, with the names of the tokens that begin and end a text, which some templates write.
    #[must_use]
    pub fn with_ends(mut self, begin: &str, end: &str) -> Self {
        self.begin = begin.to_string();
        self.end = end.to_string();
        self
    }

    /// The template in a GGUF file.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when there is none.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let template = Self::of(file.text("tokenizer.chat_template")?, file.origin())?;
        let names = file.texts("tokenizer.ggml.tokens")?;
        let name = |key: &str| {
            let token = file.number(key).ok();
            token
                .and_then(|token| names.get(token))
                .copied()
                .unwrap_or_default()
        };
        let begin = name("tokenizer.ggml.bos_token_id");
        Ok(template.with_ends(begin, name("tokenizer.ggml.eos_token_id")))
    }

    /// The talk so far, up to where the model's answer begins.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the template fails on it, or says that the talk is none.
    pub fn prompt(&self, talk: &[Message]) -> Result<String> {
        let template = self.environment.get_template(NAME);
        let turn =
            |m: &Message| context! { role => m.role.as_str(), content => m.content.as_str() };
        let talk: Vec<Value> = talk.iter().map(turn).collect();
        let text = template.and_then(|template| {
            template.render(context! {
                messages => Value::from(talk),
                add_generation_prompt => true,
                bos_token => self.begin.as_str(),
                eos_token => self.end.as_str(),
            })
        });
        text.map_err(|error| Error::tokenizer(&self.origin, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of SmolLM2-135M-Instruct (Apache-2.0); the text is what PyPI transformers 5.24 makes of it.
    const TEMPLATE: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    #[test]
    fn a_talk_is_the_text_that_the_model_knows() {
        let template = ChatTemplate::new(TEMPLATE).unwrap();
        let text = template.prompt(&[
            Message::user("Hi"),
            Message::assistant("Ho"),
            Message::user("<b>"),
        ]);
        assert_eq!(
            text.unwrap(),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face\
             <|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n\
             <|im_start|>user\n<b><|im_end|>\n<|im_start|>assistant\n"
        );
        let own = template
            .prompt(&[Message::system("Be brief."), Message::user("Hi")])
            .unwrap();
        assert!(own.starts_with("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user"));
        let ends = ChatTemplate::new("{{ bos_token }}|{{ eos_token }}")
            .unwrap()
            .with_ends("<s>", "</s>");
        assert_eq!(ends.prompt(&[]).unwrap(), "<s>|</s>");
    }

    #[test]
    fn broken_templates_are_errors() {
        assert!(ChatTemplate::new("{% for %}").is_err());
        let raises = ChatTemplate::new("{{ raise_exception('no turn of a system') }}").unwrap();
        let error = raises.prompt(&[]).unwrap_err().to_string();
        assert!(error.contains("no turn of a system"), "{error}");
        let endless =
            "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}";
        assert!(ChatTemplate::new(endless).unwrap().prompt(&[]).is_err());
    }
}
