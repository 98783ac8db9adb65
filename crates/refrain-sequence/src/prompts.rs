//! What to ask of a model that follows instructions: talks for its own [`ChatTemplate`](crate::ChatTemplate).
//!
//! ```
//! use refrain_sequence::{ChatTemplate, prompts};
//! let template = ChatTemplate::new("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}")?;
//! let talk = prompts::summary("It rained all day. In the evening it stopped.", 1);
//! assert_eq!(
//!     template.prompt(&talk)?,
//!     "[user] Summarize the following text in one short sentence.\n\n\
//!      It rained all day. In the evening it stopped."
//! );
//! # Ok::<(), refrain_sequence::Error>(())
//! ```
//!
//! Add a [`Message::system`] in front to say who answers, and answers and further wishes behind.

use crate::Message;

/// Asks for a summary of `text` in at most so many short sentences; 0 is taken for 1.
pub fn summary(text: &str, sentences: usize) -> Vec<Message> {
    let length = match sentences {
        0 | 1 => "one short sentence".to_string(),
        most => format!("at most {most} short sentences"),
    };
    vec![Message::user(format!(
        "Summarize the following text in {length}.\n\n{text}"
    ))]
}

/// Asks for `text` in another language, both named in English.
///
/// ```
/// let talk = refrain_sequence::prompts::translation("Guten Abend!", "German", "English");
/// assert_eq!(
///     talk[0].content,
///     "Translate the following text from German to English. Answer with the translation \
///      only.\n\nGuten Abend!"
/// );
/// ```
pub fn translation(text: &str, from: &str, to: &str) -> Vec<Message> {
    vec![Message::user(format!(
        "Translate the following text from {from} to {to}. Answer with the translation \
         only.\n\n{text}"
    ))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_asked_for() {
        let wish = |sentences| summary("{{ text }}", sentences)[0].content.clone();
        assert_eq!(wish(0), wish(1));
        assert_eq!(
            wish(3),
            "Summarize the following text in at most 3 short sentences.\n\n{{ text }}"
        );
    }
}
