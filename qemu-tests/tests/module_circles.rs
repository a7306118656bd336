//! Modules of one crate that use each other in a circle. Each parent's children are compared: a path from below one child
//! to something below another is an edge. A parent and its own child may use each other.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a broken expectation is the failure"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, UseTree};

/// Names from the root of a crate.
type Place = Vec<String>;

/// One module: its children, what it declares and imports, and the paths that it uses.
#[derive(Debug, Default)]
struct Module {
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    /// The name in this module, and the path that it stands for.
    imports: Vec<(String, Vec<String>)>,
    globs: Vec<Vec<String>>,
    paths: Vec<Vec<String>>,
}

/// All modules of a crate, without those for tests.
#[derive(Debug, Default)]
struct Modules(BTreeMap<Place, Module>);

impl Modules {
    fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        let directory = root.parent().expect("a directory").to_owned();
        modules.add_file(Vec::new(), root, &directory);
        modules
    }

    /// `below` is the directory of the files of its children.
    fn add_file(&mut self, place: Place, file: &Path, below: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add(place, &parsed.items, file, below);
    }

    fn add(&mut self, place: Place, items: &[Item], file: &Path, below: &Path) {
        let mut collector = Collector::default();
        for item in items {
            collector.visit_item(item);
            if let Item::Mod(child) = item
                && !is_for_tests(&child.attrs)
            {
                let name = child.ident.to_string();
                collector.0.children.insert(name.clone());
                let place = [place.clone(), vec![name.clone()]].concat();
                self.add_child(place, child, file, &below.join(name), below);
            }
            collector.0.items.extend(declared(item));
        }
        self.0.insert(place, collector.0);
    }

    fn add_child(&mut self, place: Place, child: &ItemMod, file: &Path, below: &Path, beside: &Path) {
        if let Some((_, items)) = &child.content {
            return self.add(place, items, file, below);
        }
        let named = child.attrs.iter().find_map(path_attribute);
        let is_named = named.is_some();
        let candidates: [PathBuf; 2] = match named {
            Some(path) => [file.parent().expect("a directory").join(path), PathBuf::new()],
            None => [beside.join(format!("{}.rs", child.ident)), below.join("mod.rs")],
        };
        let found = candidates.iter().find(|path| path.is_file());
        let found = found.unwrap_or_else(|| panic!("no file for {} in {}", place.join("::"), file.display()));
        // The children of a file that `path` names lie beside it.
        let below = if is_named { found.parent().expect("a directory") } else { below };
        self.add_file(place, &found.clone(), below);
    }

    /// The module that a path from `from` leads into; none for what is not of this crate.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Place> {
        /// Imports of imports; a circle of them would not compile.
        const MOST: usize = 16;
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => from.split_last()?.1.to_vec(),
            name if self.0[from].children.contains(name) => {
                rest = path;
                from.to_vec()
            }
            _ => return None,
        };
        while let Some((name, after)) = rest.split_first() {
            let module = self.0.get(&at)?;
            if name == "super" {
                at.pop()?;
            } else if module.children.contains(name) {
                at.push(name.clone());
            } else if let Some((_, target)) = module.imports.iter().find(|(known, _)| known == name) {
                let target = [target.as_slice(), after].concat();
                return if depth < MOST { self.resolve(&at, &target, depth + 1) } else { None };
            } else if !module.items.contains(name) {
                let globs = module.globs.iter().filter_map(|glob| self.resolve(&at, glob, depth + 1));
                let declares =
                    |place: &Place| self.0.get(place).is_some_and(|module| module.items.contains(name));
                return globs.into_iter().find(declares).or(Some(at));
            } else {
                return Some(at);
            }
            rest = after;
        }
        Some(at)
    }

    /// Of each parent: which child uses which.
    fn edges(&self) -> BTreeMap<Place, BTreeMap<String, BTreeSet<String>>> {
        let mut edges: BTreeMap<Place, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, module) in &self.0 {
            let imported = module.imports.iter().map(|(_, path)| path);
            for path in module.paths.iter().chain(imported).chain(&module.globs) {
                let Some(to) = self.resolve(from, path, 0) else { continue };
                let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
                if let (Some(user), Some(used)) = (from.get(common), to.get(common)) {
                    let parent = edges.entry(from[..common].to_vec()).or_default();
                    parent.entry(user.clone()).or_default().insert(used.clone());
                }
            }
        }
        edges
    }

    /// Sets of modules each of which leads to each other one.
    fn circles(&self) -> BTreeSet<String> {
        let mut circles = BTreeSet::new();
        for (parent, uses) in self.edges() {
            let reached: BTreeMap<&String, BTreeSet<&String>> =
                uses.keys().map(|user| (user, reachable(&uses, user))).collect();
            for (user, all) in &reached {
                let circle: BTreeSet<&str> = all
                    .iter()
                    .filter(|other| reached.get(**other).is_some_and(|back| back.contains(user)))
                    .map(|other| other.as_str())
                    .collect();
                if circle.len() > 1 {
                    let names = circle.into_iter().collect::<Vec<_>>().join(" ");
                    circles.insert([parent.as_slice(), &[names]].concat().join("::"));
                }
            }
        }
        circles
    }
}

fn reachable<'a>(uses: &'a BTreeMap<String, BTreeSet<String>>, from: &'a String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<&String> = uses.get(from).into_iter().flatten().collect();
    while let Some(next) = todo.pop() {
        if seen.insert(next) {
            todo.extend(uses.get(next).into_iter().flatten());
        }
    }
    seen
}

/// What a module names, without what is in its child modules.
#[derive(Default)]
struct Collector(Module);

impl Collector {
    fn add_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) if name.ident == "self" => {
                self.0.imports.push((before.last().cloned().unwrap_or_default(), before.to_vec()));
            }
            UseTree::Name(name) => self.0.imports.push((name.ident.to_string(), with(&name.ident))),
            UseTree::Rename(rename) => self.0.imports.push((rename.rename.to_string(), with(&rename.ident))),
            UseTree::Glob(_) => self.0.globs.push(before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, before)),
        }
    }

    /// Paths in the arguments of a macro begin with `crate`, `self` or `super` if they matter.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    let name = name.to_string();
                    if colons != 2 || path.is_empty() {
                        self.0.paths.extend(Some(std::mem::take(&mut path)).filter(|path| path.len() > 1));
                        if !matches!(name.as_str(), "crate" | "self" | "super") {
                            colons = 0;
                            continue;
                        }
                    }
                    path.push(name);
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.0.paths.extend(Some(std::mem::take(&mut path)).filter(|path| path.len() > 1));
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => colons = 0,
            }
        }
        self.0.paths.extend(Some(path).filter(|path| path.len() > 1));
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.add_tokens(called.tokens.clone());
        syn::visit::visit_macro(self, called);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn declared(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// `#[cfg(test)]`, alone or beside other conditions.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition =
            attribute.path().is_ident("cfg").then(|| attribute.meta.require_list().ok()).flatten();
        condition.is_some_and(|list| {
            let text = list.tokens.to_string();
            !text.contains("not") && text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
        })
    })
}

fn path_attribute(attribute: &Attribute) -> Option<String> {
    let value =
        &attribute.meta.require_name_value().ok().filter(|_| attribute.path().is_ident("path"))?.value;
    match value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The root file of every library and program of the workspace, by the crate's name.
fn roots() -> Vec<(String, PathBuf)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--no-deps"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut roots = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        for target in package["targets"].as_array().unwrap() {
            let is_product = |kind: &serde_json::Value| kind == "lib" || kind == "bin";
            if target["kind"].as_array().unwrap().iter().any(is_product) {
                let name = package["name"].as_str().unwrap().to_owned();
                roots.push((name, target["src_path"].as_str().unwrap().into()));
            }
        }
    }
    roots
}

#[test]
fn the_modules_of_a_crate_use_each_other_in_no_circle() {
    let mut crates = BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, root) in roots() {
        let circles = Modules::read(&root).circles();
        wrong.extend(circles.into_iter().map(|circle| format!("{name}: {circle}")));
        crates.insert(name);
    }
    assert!(crates.len() > 15, "all crates are read: {crates:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
