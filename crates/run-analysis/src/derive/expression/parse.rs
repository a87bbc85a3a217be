//! Parses text into an expression tree, by recursive descent.

use regex::Regex;

use super::ExpressionError;
use super::tree::{Aggregation, Grouping, Kind, Matcher, Node, Operator, Over, Selector, Wanted};

/// Maximum nesting depth: the recursive parser uses the program's stack.
const DEEPEST: usize = 64;
/// Maximum number of operators: a chain of them is a deep tree as well.
const MOST_OPERATORS: usize = 256;
/// Longest window.
const LONGEST_WINDOW_SECS: f64 = 86_400.0;

pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut parser = Parser {
        text: text.chars().collect(),
        at: 0,
        depth: 0,
        operators: 0,
    };
    let node = parser.expression()?;
    parser.spaces();
    match parser.peek() {
        None => Ok(node),
        Some(c) => Err(parser.error(format!(
            "{c} is not expected here; the expression is already complete"
        ))),
    }
}

struct Parser {
    text: Vec<char>,
    at: usize,
    depth: usize,
    operators: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn column(&mut self) -> usize {
        self.spaces();
        self.at + 1
    }

    fn error(&self, reason: impl Into<String>) -> ExpressionError {
        ExpressionError {
            column: self.at + 1,
            reason: reason.into(),
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        self.spaces();
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, wanted: char) -> Result<(), ExpressionError> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(c) => self.error(format!("{wanted} is expected, not {c}")),
            None => self.error(format!("{wanted} is expected, but the expression ends")),
        })
    }

    /// Whether the word `wanted` stands here; it is taken.
    fn word(&mut self, wanted: &str) -> bool {
        self.spaces();
        let end = self.at + wanted.len();
        let is_there = self.text.get(self.at..end).is_some_and(|found| {
            found.iter().copied().eq(wanted.chars())
                && !self
                    .text
                    .get(end)
                    .is_some_and(|c| starts_name(*c) || c.is_ascii_digit())
        });
        if is_there {
            self.at = end;
        }
        is_there
    }

    /// Whether the sign `wanted` stands here; it is taken.
    fn sign(&mut self, wanted: &str) -> bool {
        self.spaces();
        let end = self.at + wanted.len();
        let is_there = self
            .text
            .get(self.at..end)
            .is_some_and(|found| found.iter().copied().eq(wanted.chars()));
        if is_there {
            self.at = end;
        }
        is_there
    }

    fn expression(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.intersection()?;
        while self.word("or") {
            left = self.binary(Operator::Or, left, Self::intersection)?;
        }
        Ok(left)
    }

    fn intersection(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.comparison()?;
        loop {
            let operator = if self.word("and") {
                Operator::And
            } else if self.word("unless") {
                Operator::Unless
            } else {
                return Ok(left);
            };
            left = self.binary(operator, left, Self::comparison)?;
        }
    }

    fn comparison(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.sum()?;
        let signs = [
            (">=", Operator::GreaterOrEqual),
            ("<=", Operator::LessOrEqual),
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            (">", Operator::Greater),
            ("<", Operator::Less),
        ];
        loop {
            let Some((_, operator)) = signs.iter().find(|(sign, _)| self.sign(sign)) else {
                return Ok(left);
            };
            left = self.binary(*operator, left, Self::sum)?;
        }
    }

    fn sum(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.product()?;
        loop {
            let operator = if self.take('+') {
                Operator::Add
            } else if self.take('-') {
                Operator::Subtract
            } else {
                return Ok(left);
            };
            left = self.binary(operator, left, Self::product)?;
        }
    }

    fn product(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.factor()?;
        loop {
            let operator = if self.take('*') {
                Operator::Multiply
            } else if self.take('/') {
                Operator::Divide
            } else {
                return Ok(left);
            };
            left = self.binary(operator, left, Self::factor)?;
        }
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: Node,
        right: fn(&mut Self) -> Result<Node, ExpressionError>,
    ) -> Result<Node, ExpressionError> {
        self.operators += 1;
        if self.operators > MOST_OPERATORS {
            return Err(self.error(format!("more than {MOST_OPERATORS} operators")));
        }
        let grouping = self.grouping("on", "ignoring")?;
        for word in ["bool", "group_left", "group_right"] {
            if self.word(word) {
                return Err(self.error(format!("{word} is not supported")));
            }
        }
        let right = right(self)?;
        Ok(Node {
            column: left.column,
            kind: Kind::Binary(operator, grouping, Box::new(left), Box::new(right)),
        })
    }

    fn grouping(&mut self, keeps: &str, drops: &str) -> Result<Option<Grouping>, ExpressionError> {
        let keeps = if self.word(keeps) {
            true
        } else if self.word(drops) {
            false
        } else {
            return Ok(None);
        };
        self.expect('(')?;
        let mut labels = Vec::new();
        while !self.take(')') {
            labels.push(self.name()?);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(Some(Grouping { keeps, labels }))
    }

    fn factor(&mut self) -> Result<Node, ExpressionError> {
        let column = self.column();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error(format!("nested more than {DEEPEST} deep")));
        }
        let node = match self.peek() {
            None => Err(self.error("a number, a series or ( is expected, but the expression ends")),
            Some('(') => {
                self.at += 1;
                let inner = self.expression()?;
                self.expect(')')?;
                Ok(inner)
            }
            Some('-') => {
                self.at += 1;
                Ok(Node {
                    column,
                    kind: Kind::Negate(Box::new(self.factor()?)),
                })
            }
            Some(c) if c.is_ascii_digit() || c == '.' => Ok(Node {
                column,
                kind: Kind::Number(self.number()?),
            }),
            Some(c) if starts_name(c) => self.named(column),
            Some(c) => Err(self.error(format!("a number, a series or ( is expected, not {c}"))),
        };
        self.depth -= 1;
        node
    }

    fn number(&mut self) -> Result<f64, ExpressionError> {
        self.spaces();
        let start = self.at;
        while let Some(c) = self.peek() {
            let sign_of_exponent = matches!(c, '+' | '-') && matches!(self.text[self.at - 1], 'e' | 'E');
            if !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || (self.at > start && sign_of_exponent))
            {
                break;
            }
            self.at += 1;
        }
        let text: String = self.text[start..self.at].iter().collect();
        let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
        value.ok_or_else(|| ExpressionError {
            column: start + 1,
            reason: format!("{text} is not a number"),
        })
    }

    fn name(&mut self) -> Result<String, ExpressionError> {
        self.spaces();
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| starts_name(c) || (self.at > start && c.is_ascii_digit()))
        {
            self.at += 1;
        }
        if start == self.at {
            return Err(self.error("a name is expected"));
        }
        Ok(self.text[start..self.at].iter().collect())
    }

    /// A function, or a series.
    fn named(&mut self, column: usize) -> Result<Node, ExpressionError> {
        let name = self.name()?;
        let aggregation = match name.as_str() {
            "sum" => Some(Aggregation::Sum),
            "mean" => Some(Aggregation::Mean),
            "avg" => Some(Aggregation::Average),
            "min" => Some(Aggregation::Minimum),
            "max" => Some(Aggregation::Maximum),
            "count" => Some(Aggregation::Count),
            _ => None,
        };
        let mut grouping = match aggregation {
            Some(_) => self.grouping("by", "without")?,
            None => None,
        };
        self.spaces();
        if self.peek() != Some('(') {
            if grouping.is_some() {
                self.expect('(')?;
            }
            return Ok(Node {
                column,
                kind: Kind::Select(self.selector(name)?),
            });
        }
        self.at += 1;
        let kind = match (name.as_str(), aggregation) {
            (_, Some(aggregation)) => {
                let inner = Box::new(self.expression()?);
                self.expect(')')?;
                if grouping.is_none() {
                    grouping = self.grouping("by", "without")?;
                }
                return Ok(Node {
                    column,
                    kind: Kind::Aggregate(aggregation, grouping, inner),
                });
            }
            ("rate", _) => self.maybe_window(Over::Rate, Kind::Rate)?,
            ("increase", _) => self.maybe_window(Over::Increase, Kind::Increase)?,
            ("delta", _) => self.window(Over::Delta)?,
            ("avg_over_time", _) => self.window(Over::Average)?,
            ("min_over_time", _) => self.window(Over::Minimum)?,
            ("max_over_time", _) => self.window(Over::Maximum)?,
            ("sum_over_time", _) => self.window(Over::Sum)?,
            ("count_over_time", _) => self.window(Over::Count)?,
            ("absent", _) => Kind::Absent(Box::new(self.expression()?)),
            ("quantile", _) => {
                let q = self.quantile()?;
                Kind::Quantile(q, self.series()?)
            }
            ("histogram_quantile", _) => {
                let q = self.quantile()?;
                Kind::HistogramQuantile(q, Box::new(self.expression()?))
            }
            (other, _) => {
                let reason = format!(
                    "there is no function {other}; there are rate, increase, delta, avg_over_time, min_over_time, \
                     max_over_time, sum_over_time, count_over_time, quantile, histogram_quantile, absent, sum, mean, avg, \
                     min, max, count"
                );
                return Err(ExpressionError { column, reason });
            }
        };
        self.expect(')')?;
        Ok(Node { column, kind })
    }

    /// A number from 0 to 1 and the comma after it.
    fn quantile(&mut self) -> Result<f64, ExpressionError> {
        let column = self.column();
        let q = self.number()?;
        if q > 1.0 {
            return Err(ExpressionError {
                column,
                reason: format!("{q} is not a quantile: 0 to 1"),
            });
        }
        self.expect(',')?;
        Ok(q)
    }

    fn window(&mut self, over: Over) -> Result<Kind, ExpressionError> {
        let selector = self.series()?;
        self.expect('[')?;
        Ok(Kind::Window(over, selector, self.duration()?))
    }

    fn maybe_window(&mut self, over: Over, stepwise: fn(Selector) -> Kind) -> Result<Kind, ExpressionError> {
        let selector = self.series()?;
        Ok(if self.take('[') {
            Kind::Window(over, selector, self.duration()?)
        } else {
            stepwise(selector)
        })
    }

    /// A duration like 30s, 1m30s or 500ms and the bracket after it, in nanoseconds.
    fn duration(&mut self) -> Result<i64, ExpressionError> {
        let column = self.column();
        let mut secs = 0.0;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            let start = self.at;
            while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1;
            }
            let digits: String = self.text[start..self.at].iter().collect();
            let unit_at = self.at;
            while self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
                self.at += 1;
            }
            let unit: String = self.text[unit_at..self.at].iter().collect();
            let unit_secs = match unit.as_str() {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => {
                    return Err(ExpressionError {
                        column: unit_at + 1,
                        reason: "a unit of time is expected: ms, s, m, h, d".into(),
                    });
                }
            };
            secs += digits.parse::<f64>().unwrap_or(f64::INFINITY) * unit_secs;
        }
        if !(secs > 0.0 && secs <= LONGEST_WINDOW_SECS) {
            return Err(ExpressionError {
                column,
                reason: "a window is between 1ms and 1d long, for example 30s".into(),
            });
        }
        self.expect(']')?;
        Ok((secs * 1e9).round() as i64)
    }

    fn series(&mut self) -> Result<Selector, ExpressionError> {
        let name = self.name()?;
        self.selector(name)
    }

    fn selector(&mut self, name: String) -> Result<Selector, ExpressionError> {
        let mut labels = Vec::new();
        if self.take('{') && !self.take('}') {
            loop {
                labels.push(self.matcher()?);
                if self.take('}') {
                    break;
                }
                self.expect(',')?;
            }
        }
        Ok(Selector { name, labels })
    }

    fn matcher(&mut self) -> Result<Matcher, ExpressionError> {
        let name = self.name()?;
        let (is_pattern, negated) = if self.sign("=~") {
            (true, false)
        } else if self.sign("!~") {
            (true, true)
        } else if self.sign("!=") {
            (false, true)
        } else {
            self.expect('=')?;
            (false, false)
        };
        let column = self.column();
        let text = self.quoted()?;
        let wanted = if is_pattern {
            // The whole value must match, as in PromQL.
            match Regex::new(&format!("^(?s:{text})$")) {
                Ok(pattern) => Wanted::Pattern(pattern),
                Err(_) => {
                    return Err(ExpressionError {
                        column,
                        reason: format!("{text:?} is not a regular expression"),
                    });
                }
            }
        } else {
            Wanted::Text(text)
        };
        Ok(Matcher {
            name,
            wanted,
            negated,
        })
    }

    fn quoted(&mut self) -> Result<String, ExpressionError> {
        self.expect('"')?;
        let mut out = String::new();
        loop {
            match self.peek() {
                None => return Err(self.error("the label's value has no closing quote")),
                Some('"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some('\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some('n') => out.push('\n'),
                        Some(c @ ('"' | '\\')) => out.push(c),
                        _ => return Err(self.error("after a backslash only n, \" and \\ may stand")),
                    }
                }
                Some(c) => out.push(c),
            }
            self.at += 1;
        }
    }
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}
