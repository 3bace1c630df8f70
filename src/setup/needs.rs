//! What a project asks for, held against what its vault has. It knows tags, never values.

use std::collections::{HashMap, HashSet};

use super::manifest::{Declaration, Manifest};
use super::tree::{Reference, Tree};
use crate::model::{Tag, TagKey};

/// A secret that the manifest declares, or that its templates or `[run.env]` refer to.
pub struct Need<'m> {
    /// Its tag, as declared, else as spelled where it is first referred to
    pub tag: Tag,
    /// Its declaration
    pub declaration: Option<&'m Declaration>,
    /// The placeholders that refer to it, in the manifest's own files
    pub references: Vec<Reference>,
    /// A template refers to it: there is no output without it
    pub is_rendered: bool,
}

impl Need<'_> {
    /// False for one that is declared optional and that no template refers to.
    pub fn is_required(&self) -> bool {
        self.is_rendered || !self.declaration.is_some_and(|declaration| declaration.optional)
    }
}

/// All that a manifest asks for, in its order: declarations first.
pub fn needs<'m>(manifest: &'m Manifest, tree: &Tree) -> Vec<Need<'m>> {
    let mut needs: Vec<Need<'m>> = Vec::new();
    let mut places: HashMap<TagKey, usize> = HashMap::new();
    for declaration in &manifest.secrets {
        places.insert(declaration.tag.key(), needs.len());
        let tag = declaration.tag.clone();
        needs.push(Need {
            tag,
            declaration: Some(declaration),
            references: Vec::new(),
            is_rendered: false,
        });
    }

    let own = manifest.path();
    let templates: HashSet<_> =
        manifest.render.iter().map(|rendering| manifest.at(&rendering.template)).collect();
    for reference in tree.references.iter().filter(|reference| !reference.declared) {
        let is_rendered = templates.contains(&reference.file);
        if !is_rendered && reference.file != own {
            continue;
        }

        let at = *places.entry(reference.tag.key()).or_insert_with(|| {
            let tag = reference.tag.clone();
            needs.push(Need { tag, declaration: None, references: Vec::new(), is_rendered: false });
            needs.len() - 1
        });

        needs[at].references.push(reference.clone());
        needs[at].is_rendered |= is_rendered;
    }

    needs
}
