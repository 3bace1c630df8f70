//! Lists the secrets that a project needs. It knows tags, never values.

use std::collections::{HashMap, HashSet};

use secrets_core::model::{Tag, TagKey};

use super::manifest::{Declaration, Manifest};
use super::tree::{Reference, Tree};

/// A secret that the manifest declares, or that its templates or `[run.env]` refer to.
pub struct Need<'m> {
    /// Its tag as declared, or as spelled in the first reference
    pub tag: Tag,
    pub declaration: Option<&'m Declaration>,
    /// The placeholders that refer to it, in the manifest's own files
    pub references: Vec<Reference>,
    /// True if a template refers to it, so that the output depends on it
    pub is_rendered: bool,
}

impl Need<'_> {
    /// Returns false if the secret is declared optional and no template refers to it.
    pub fn is_required(&self) -> bool {
        self.is_rendered || !self.declaration.is_some_and(|declaration| declaration.optional)
    }
}

/// Returns everything that a manifest needs. Declarations come first, in the manifest's order.
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
    for reference in tree.references.iter().filter(|it| it.is_placeholder()) {
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
