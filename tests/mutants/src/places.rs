//! Where in a file the mutants are, found in its syntax tree.

use std::collections::HashMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UnOp};

use crate::list::{At, Genre, Mutant};

/// A piece of the text that one switch decides about.
#[derive(Debug)]
pub struct Place {
    pub range: Range<usize>,
    pub kind: Kind,
    /// The numbers of the mutants here, and what of the text each replaces.
    pub mutants: Vec<(usize, Range<usize>)>,
}

#[derive(Debug)]
pub enum Kind {
    /// Before the first statement of a function: its mutants return at once.
    Body,
    /// The statements of a function that returns a type without a name, and so has to return all
    /// that it may return in a box.
    Opaque,
    /// Binary operators with no parentheses between them. As cargo-mutants changes text, another
    /// operator may bind its neighbours in another way, so all of the chain is one place.
    Chain,
    /// An operator in front of this operand.
    Unary { operand: Range<usize> },
    /// Behind the pattern of a match arm.
    Arm,
    /// The condition of a match arm.
    Guard,
    /// The value of a field, with what the field is called and where it comes from otherwise.
    Field { name: String, shorthand: bool, path: String, base: Range<usize> },
}

/// Why a mutant has no switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unswitched {
    /// It is part of a constant, which no switch can reach while the program runs.
    Constant,
    /// A condition with `let` knows no other operator than `&&`.
    Let,
}

/// What was found in one file.
#[derive(Default)]
pub struct Found {
    pub places: Vec<Place>,
    pub unswitched: Vec<(usize, Unswitched)>,
}

/// Looks for the mutants of the file with this text. `mutants` are those of this file, with their
/// numbers.
pub fn find(text: &str, mutants: &[(usize, &Mutant)]) -> Result<Found, String> {
    let file = syn::parse_file(text).map_err(|error| error.to_string())?;
    let mut wanted: HashMap<(Genre, At), Vec<usize>> = HashMap::new();
    for (number, mutant) in mutants {
        wanted.entry((mutant.genre, mutant.span.start)).or_default().push(*number);
    }
    let mut finder = Finder { wanted, constant: false, found: Found::default() };
    finder.visit_file(&file);
    match finder.wanted.values().flatten().next() {
        Some(lost) => Err(format!("mutant {lost} is nowhere to be found")),
        None => Ok(finder.found),
    }
}

struct Finder {
    wanted: HashMap<(Genre, At), Vec<usize>>,
    constant: bool,
    found: Found,
}

impl Finder {
    /// The mutants of this kind that begin where `node` does.
    fn take(&mut self, genre: Genre, node: &impl Spanned) -> Vec<(usize, Range<usize>)> {
        let start = node.span().start();
        let at = At { line: start.line, column: start.column + 1 };
        let numbers = self.wanted.remove(&(genre, at)).unwrap_or_default();
        numbers.into_iter().map(|number| (number, node.span().byte_range())).collect()
    }

    fn add(&mut self, range: Range<usize>, kind: Kind, mutants: Vec<(usize, Range<usize>)>) {
        if self.constant {
            self.leave(mutants, Unswitched::Constant);
        } else if !mutants.is_empty() {
            self.found.places.push(Place { range, kind, mutants });
        }
    }

    fn leave(&mut self, mutants: Vec<(usize, Range<usize>)>, why: Unswitched) {
        self.found.unswitched.extend(mutants.into_iter().map(|(number, _)| (number, why)));
    }

    fn in_constant(&mut self, visit: impl FnOnce(&mut Finder)) {
        let before = std::mem::replace(&mut self.constant, true);
        visit(self);
        self.constant = before;
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let [first, ..] = &block.stmts[..] else { return };
        let mutants = self.take(Genre::FnValue, first);
        let start = first.span().byte_range().start;
        let end = block.stmts.last().map_or(start, |last| last.span().byte_range().end);
        let mut opaque = Opaque(false);
        opaque.visit_return_type(&signature.output);
        if opaque.0 {
            self.add(start..end, Kind::Opaque, mutants);
        } else {
            self.add(start..start, Kind::Body, mutants);
        }
        let before = std::mem::replace(&mut self.constant, signature.constness.is_some());
        self.visit_block(block);
        self.constant = before;
    }

    /// A condition of parts that `&&` connects, one of which is a `let`.
    fn condition(&mut self, expr: &Expr) {
        match expr {
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) && has_let(expr) => {
                let mutants = self.take(Genre::BinaryOperator, &binary.op);
                self.leave(mutants, Unswitched::Let);
                self.condition(&binary.left);
                self.condition(&binary.right);
            }
            other => self.visit_expr(other),
        }
    }

    fn chain<'a>(
        &mut self,
        expr: &'a Expr,
        mutants: &mut Vec<(usize, Range<usize>)>,
        operands: &mut Vec<&'a Expr>,
    ) {
        if let Expr::Binary(binary) = expr {
            mutants.extend(self.take(Genre::BinaryOperator, &binary.op));
            self.chain(&binary.left, mutants, operands);
            self.chain(&binary.right, mutants, operands);
        } else {
            operands.push(expr);
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.function(&node.sig, &node.block);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        self.function(&node.sig, &node.block);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(block) = &node.default {
            self.function(&node.sig, block);
        }
    }

    fn visit_item_const(&mut self, node: &'ast syn::ItemConst) {
        self.in_constant(|finder| visit::visit_item_const(finder, node));
    }

    fn visit_impl_item_const(&mut self, node: &'ast syn::ImplItemConst) {
        self.in_constant(|finder| visit::visit_impl_item_const(finder, node));
    }

    fn visit_trait_item_const(&mut self, node: &'ast syn::TraitItemConst) {
        self.in_constant(|finder| visit::visit_trait_item_const(finder, node));
    }

    fn visit_item_static(&mut self, node: &'ast syn::ItemStatic) {
        self.in_constant(|finder| visit::visit_item_static(finder, node));
    }

    fn visit_item_enum(&mut self, node: &'ast syn::ItemEnum) {
        self.in_constant(|finder| visit::visit_item_enum(finder, node));
    }

    fn visit_expr_const(&mut self, node: &'ast syn::ExprConst) {
        self.in_constant(|finder| visit::visit_expr_const(finder, node));
    }

    fn visit_type_array(&mut self, node: &'ast syn::TypeArray) {
        self.in_constant(|finder| visit::visit_type_array(finder, node));
    }

    fn visit_generic_argument(&mut self, node: &'ast syn::GenericArgument) {
        self.in_constant(|finder| visit::visit_generic_argument(finder, node));
    }

    fn visit_pat(&mut self, node: &'ast syn::Pat) {
        self.in_constant(|finder| visit::visit_pat(finder, node));
    }

    fn visit_expr_repeat(&mut self, node: &'ast syn::ExprRepeat) {
        self.visit_expr(&node.expr);
        self.in_constant(|finder| finder.visit_expr(&node.len));
    }

    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        let expr = Expr::Binary(node.clone());
        if has_let(&expr) {
            return self.condition(&expr);
        }
        let (mut mutants, mut operands) = (Vec::new(), Vec::new());
        self.chain(&expr, &mut mutants, &mut operands);
        self.add(node.span().byte_range(), Kind::Chain, mutants);
        for operand in operands {
            self.visit_expr(operand);
        }
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        if matches!(node.op, UnOp::Not(_) | UnOp::Neg(_)) {
            let mutants = self.take(Genre::UnaryOperator, &node.op);
            let operand = node.expr.span().byte_range();
            self.add(node.span().byte_range(), Kind::Unary { operand }, mutants);
        }
        self.visit_expr(&node.expr);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        let end = node.pat.span().byte_range().end;
        let mutants = self.take(Genre::MatchArm, node);
        self.add(end..end, Kind::Arm, mutants);
        if let Some((_, guard)) = &node.guard {
            let mutants = self.take(Genre::MatchArmGuard, guard);
            self.add(guard.span().byte_range(), Kind::Guard, mutants);
        }
        visit::visit_arm(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast syn::ExprStruct) {
        let path = node.path.span().source_text().unwrap_or_default();
        if let Some(base) = &node.rest {
            for field in &node.fields {
                let mutants = self.take(Genre::StructField, field);
                let kind = Kind::Field {
                    name: field.member.span().source_text().unwrap_or_default(),
                    shorthand: field.colon_token.is_none(),
                    path: path.clone(),
                    base: base.span().byte_range(),
                };
                self.add(field.expr.span().byte_range(), kind, mutants);
            }
        }
        visit::visit_expr_struct(self, node);
    }
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => {
            has_let(&binary.left) || has_let(&binary.right)
        }
        _ => false,
    }
}

/// Whether a type says `impl` somewhere.
struct Opaque(bool);

impl<'ast> Visit<'ast> for Opaque {
    fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
        self.0 = true;
    }
}
