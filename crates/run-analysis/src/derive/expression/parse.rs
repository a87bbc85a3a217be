//! Parses text into an expression tree, by recursive descent.

use super::ExpressionError;

/// Maximum nesting depth: the recursive parser uses the program's stack.
const DEEPEST: usize = 64;

/// A part of an expression with its start column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) column: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Number(f64),
    Select(Selector),
    Rate(Selector),
    Increase(Selector),
    Quantile(f64, Selector),
    Sum(Box<Node>),
    Mean(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Series selected by name and equal labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selector {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
}

pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut parser = Parser {
        text: text.chars().collect(),
        at: 0,
        depth: 0,
    };
    let node = parser.sum()?;
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
            let right = self.product()?;
            left = binary(operator, left, right);
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
            let right = self.factor()?;
            left = binary(operator, left, right);
        }
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
                let inner = self.sum()?;
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
        self.spaces();
        if self.peek() != Some('(') {
            return Ok(Node {
                column,
                kind: Kind::Select(self.selector(name)?),
            });
        }
        self.at += 1;
        let kind = match name.as_str() {
            "rate" => Kind::Rate(self.series()?),
            "increase" => Kind::Increase(self.series()?),
            "sum" => Kind::Sum(Box::new(self.sum()?)),
            "mean" | "avg" => Kind::Mean(Box::new(self.sum()?)),
            "quantile" => {
                let at = self.column();
                let q = self.number()?;
                if q > 1.0 {
                    return Err(ExpressionError {
                        column: at,
                        reason: format!("{q} is not a quantile: 0 to 1"),
                    });
                }
                self.expect(',')?;
                Kind::Quantile(q, self.series()?)
            }
            other => {
                let reason =
                    format!("there is no function {other}; there are rate, increase, quantile, sum, mean");
                return Err(ExpressionError { column, reason });
            }
        };
        self.expect(')')?;
        Ok(Node { column, kind })
    }

    fn series(&mut self) -> Result<Selector, ExpressionError> {
        let name = self.name()?;
        self.selector(name)
    }

    fn selector(&mut self, name: String) -> Result<Selector, ExpressionError> {
        let mut labels = Vec::new();
        if self.take('{') && !self.take('}') {
            loop {
                let label = self.name()?;
                self.expect('=')?;
                labels.push((label, self.quoted()?));
                if self.take('}') {
                    break;
                }
                self.expect(',')?;
            }
        }
        Ok(Selector { name, labels })
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

fn binary(operator: Operator, left: Node, right: Node) -> Node {
    Node {
        column: left.column,
        kind: Kind::Binary(operator, Box::new(left), Box::new(right)),
    }
}
