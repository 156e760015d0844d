//! Writes a file anew, with all of its mutants in it, each behind its switch.

use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;

use crate::list::Mutant;
use crate::places::{Kind, Place};

/// A file with switches, and what of it came from which mutant.
pub struct Rewritten {
    pub text: String,
    /// The pieces that belong to one mutant alone.
    pub arms: Vec<(Range<usize>, usize)>,
    /// The pieces that were put in the place of a place, by its number.
    pub places: Vec<(Range<usize>, usize)>,
}

/// Writes the file with this text, where `places` has its places with their numbers, and `off` the
/// mutants to leave out.
pub fn rewrite(
    text: &str,
    mut places: Vec<(usize, &Place)>,
    mutants: &[Mutant],
    off: &HashSet<usize>,
) -> Rewritten {
    // Insertions come before what begins at the same byte, and outer places before inner ones.
    let order = |range: &Range<usize>| (range.start, !range.is_empty(), usize::MAX - range.end);
    places.sort_by_key(|(_, place)| order(&place.range));
    let out = Rewritten { text: String::new(), arms: Vec::new(), places: Vec::new() };
    let mut writer = Writer { text, places: &places, mutants, off, out };
    writer.write(0..text.len(), 0..places.len());
    writer.out
}

struct Writer<'a> {
    text: &'a str,
    places: &'a [(usize, &'a Place)],
    mutants: &'a [Mutant],
    off: &'a HashSet<usize>,
    out: Rewritten,
}

impl Writer<'_> {
    /// Writes `range` of the text, in which the places `inside` are.
    fn write(&mut self, range: Range<usize>, inside: Range<usize>) {
        let mut at = range.start;
        let mut next = inside.start;
        while next < inside.end {
            let (number, place) = self.places[next];
            // What is below this place, which follows it.
            let mut end = next + 1;
            while end < inside.end && self.places[end].1.range.start < place.range.end {
                end += 1;
            }
            self.out.text += &self.text[at..place.range.start];
            let start = self.out.text.len();
            if place.mutants.iter().all(|(mutant, _)| self.off.contains(mutant)) {
                self.write(place.range.clone(), next + 1..end);
            } else {
                self.place(number, place, next + 1..end);
            }
            self.out.places.push((start..self.out.text.len(), number));
            at = place.range.end;
            next = end;
        }
        self.out.text += &self.text[at..range.end];
    }

    fn place(&mut self, number: usize, place: &Place, below: Range<usize>) {
        let range = place.range.clone();
        match &place.kind {
            Kind::Body => {
                self.arms(number, place, |writer, mutant, _| {
                    format!("return {}", writer.mutants[mutant].replacement)
                });
                self.out.text += "_ => {} }\n";
            }
            Kind::Opaque => {
                self.arms(number, place, |writer, mutant, _| {
                    format!("return crate::mutant::boxed({})", writer.mutants[mutant].replacement)
                });
                self.out.text += "_ => {} } crate::mutant::boxed({ ";
                self.write(range, below);
                self.out.text += " })";
            }
            Kind::Chain => {
                self.out.text.push('(');
                self.arms(number, place, |writer, mutant, operator| {
                    let (before, after) = (range.start..operator.start, operator.end..range.end);
                    let new = &writer.mutants[mutant].replacement;
                    format!("{{{} {new} {}}}", &writer.text[before], &writer.text[after])
                });
                self.otherwise(range.clone(), below);
            }
            Kind::Unary { operand } => {
                self.out.text.push('(');
                self.arms(number, place, |writer, _, _| writer.text[operand.clone()].to_owned());
                self.otherwise(range, below);
            }
            Kind::Arm => {
                let mutant = place.mutants[0].0;
                let _ = write!(self.out.text, " if crate::mutant::at({number}) != {mutant}");
            }
            Kind::Guard => {
                self.out.text.push('(');
                self.arms(number, place, |writer, mutant, _| {
                    writer.mutants[mutant].replacement.clone()
                });
                self.otherwise(range, below);
            }
            Kind::Field { name, shorthand, path, base } => {
                if *shorthand {
                    let _ = write!(self.out.text, "{name}: ");
                }
                self.out.text.push('(');
                self.arms(number, place, |writer, _, _| {
                    let base = &writer.text[base.clone()];
                    format!("{{ let base: {path} = {base}; base.{name} }}")
                });
                self.otherwise(range, below);
            }
        }
    }

    /// The begin of a `match`, with an arm for each mutant of the place that is not left out.
    fn arms(
        &mut self,
        number: usize,
        place: &Place,
        arm: impl Fn(&Writer<'_>, usize, &Range<usize>) -> String,
    ) {
        let _ = write!(self.out.text, "match crate::mutant::at({number}) {{ ");
        for (mutant, replaced) in &place.mutants {
            if self.off.contains(mutant) {
                continue;
            }
            let _ = write!(self.out.text, "{mutant} => ");
            let start = self.out.text.len();
            let arm = arm(self, *mutant, replaced);
            self.out.text += &arm;
            self.out.arms.push((start..self.out.text.len(), *mutant));
            self.out.text += ", ";
        }
    }

    /// The end of a `match`: what the text says, with the places below.
    fn otherwise(&mut self, range: Range<usize>, below: Range<usize>) {
        self.out.text += "_ => {";
        self.write(range, below);
        self.out.text += "} })";
    }
}
