use std::fmt;

/// For whom something is asked: a user of the training data, or anyone with a history.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// A user the model was fitted on.
    User(u32),
    /// Someone else, known by item numbers and weights.
    History(&'a [(u32, f32)]),
}

/// Why an item was scored as it was. The contributions add up to the score.
///
/// Displayed, it is a sentence per reason, the strongest first:
///
/// ```text
/// The Banshee: 1.84
///   +1.02  because of “Drowsy Maggie”
///   +0.82  because of “The Silver Spear”
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The item's id.
    pub item: String,
    /// Its score.
    pub score: f32,
    /// The parts of the score, by falling size.
    pub reasons: Vec<Contribution>,
}

/// One part of a score.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// Where it comes from.
    pub reason: Reason,
    /// How much it adds to the score.
    pub weight: f32,
}

impl Contribution {
    /// A contribution of `weight` for `reason`.
    pub fn new(reason: Reason, weight: f32) -> Self {
        Self { reason, weight }
    }
}

/// Where a part of a score comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// An item of the history.
    Item(String),
    /// A user with a similar history.
    User(String),
    /// A feature of the item that the history shares, as `rhythm=reel`.
    Feature(String),
    /// How many chose the item.
    Popularity {
        /// How many did.
        users: u32,
    },
    /// A part that does not depend on the history, named.
    Constant(&'static str),
    /// A member of a blend, and its own reason.
    Member {
        /// The member's name.
        model: String,
        /// Its reason.
        reason: Box<Reason>,
    },
}

impl Reason {
    /// The reason itself, without the members of blends it came through.
    pub fn root(&self) -> &Reason {
        match self {
            Reason::Member { reason, .. } => reason.root(),
            reason => reason,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Item(id) => write!(f, "because of “{id}”"),
            Reason::User(id) => write!(f, "chosen by {id}, whose history is alike"),
            Reason::Feature(name) => write!(f, "for its {name}"),
            Reason::Popularity { users } => write!(f, "chosen by {users} users"),
            Reason::Constant(what) => f.write_str(what),
            Reason::Member { model, reason } => write!(f, "{reason} ({model})"),
        }
    }
}

impl Explanation {
    /// Puts the strongest reasons first. Equal ones keep their order.
    pub fn new(item: String, score: f32, mut reasons: Vec<Contribution>) -> Self {
        reasons.retain(|r| r.weight != 0.0);
        reasons.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
        Self {
            item,
            score,
            reasons,
        }
    }

    /// The sum of the contributions: the score, but for rounding.
    pub fn total(&self) -> f64 {
        self.reasons.iter().map(|r| f64::from(r.weight)).sum()
    }

    /// The reasons that speak for the item, merged over the members of a blend, the strongest first.
    pub fn because(&self, n: usize) -> Vec<Contribution> {
        let mut merged: Vec<Contribution> = Vec::new();
        for part in self.reasons.iter().filter(|r| r.weight > 0.0) {
            let root = part.reason.root();
            match merged.iter_mut().find(|m| m.reason == *root) {
                Some(found) => found.weight += part.weight,
                None => merged.push(Contribution::new(root.clone(), part.weight)),
            }
        }
        merged.retain(|m| !matches!(m.reason, Reason::Constant(_)));
        merged.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        merged.truncate(n);
        merged
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.3}", self.item, self.score)?;
        let shown = 8;
        for part in self.reasons.iter().take(shown) {
            write!(f, "\n  {:+.3}  {}", part.weight, part.reason)?;
        }
        if self.reasons.len() > shown {
            let rest: f64 = self
                .reasons
                .iter()
                .skip(shown)
                .map(|r| f64::from(r.weight))
                .sum();
            write!(
                f,
                "\n  {rest:+.3}  from {} more",
                self.reasons.len() - shown
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(model: &str, reason: Reason) -> Reason {
        Reason::Member {
            model: model.into(),
            reason: Box::new(reason),
        }
    }

    #[test]
    fn reads_as_sentences() {
        let why = Explanation::new(
            "The Banshee".into(),
            1.75,
            vec![
                Contribution::new(Reason::Feature("rhythm=reel".into()), 0.5),
                Contribution::new(Reason::Item("Drowsy Maggie".into()), 1.5),
                Contribution::new(Reason::Constant("less the average item"), -0.25),
                Contribution::new(Reason::Popularity { users: 0 }, 0.0),
            ],
        );
        assert_eq!(
            why.to_string(),
            "The Banshee: 1.750\n  +1.500  because of “Drowsy Maggie”\n  +0.500  for its rhythm=reel\
             \n  -0.250  less the average item"
        );
        assert_eq!(why.total(), 1.75);
    }

    #[test]
    fn the_same_reason_through_two_members_is_one() {
        let item = || Reason::Item("x".into());
        let why = Explanation::new(
            "y".into(),
            1.0,
            vec![
                Contribution::new(member("ALS", item()), 0.25),
                Contribution::new(member("item-kNN", item()), 0.5),
                Contribution::new(member("ALS", Reason::Item("z".into())), 0.625),
                Contribution::new(Reason::Constant("less the average item"), 9.0),
            ],
        );
        let because = why.because(5);
        assert_eq!(because.len(), 2);
        assert_eq!(because[0], Contribution::new(item(), 0.75));
    }
}
