//! What the vault of the targets answers, and comparing with it what a mutated one answers.

use std::sync::OnceLock;

use super::world::{Copy, VAULT, root_key};
use terminal_secrets::model::{
    ProjectName, Secret, SecretBytes, SecretId, SecretRef, SecretValue, Tag,
};
use terminal_secrets::vault::{Locked, NewSecret, Reveal, Revealed, Vault, VaultError};

/// Every answer of the original.
#[derive(PartialEq)]
pub(super) struct Answers {
    pub(super) projects: Vec<(ProjectName, u64)>,
    pub(super) listed: Vec<Secret>,
    /// The values of each project
    pub(super) values: Vec<(ProjectName, Values)>,
}

pub(super) type Values = Vec<(Tag, Vec<u8>)>;

/// Fails on an error that a mutation must not cause.
pub(super) type Check = fn(&VaultError);

impl Answers {
    /// Returns the answers of [`VAULT`].
    pub(super) fn original() -> &'static Self {
        static ORIGINAL: OnceLock<Answers> = OnceLock::new();
        ORIGINAL.get_or_init(|| {
            let copy = Copy::of(VAULT);
            let locked = Locked::open(&copy.path()).expect("the original opens");
            Self::of(&locked.unlocked(root_key()))
        })
    }

    /// Returns the answers of an intact vault.
    fn of(vault: &Vault) -> Self {
        let projects = vault.projects().expect("it has projects");
        let listed = vault.list(None, |_| true).expect("it has secrets");
        let values = projects
            .iter()
            .map(|(name, _)| (name.clone(), all(vault, name).expect("it has values")))
            .collect();

        Self { projects, listed, values }
    }

    /// Asks a vault. Each answer is that of the original, or an error that `check` accepts. `chosen`
    /// selects a secret and a project.
    pub(super) fn ask(&self, vault: &Vault, chosen: usize, check: Check) {
        same(vault.projects(), &self.projects, check);
        same(vault.list(None, |_| true), &self.listed, check);
        let secret = &self.listed[chosen % self.listed.len()];
        same(vault.find(&secret.project, &secret.metadata.tag), &Some(secret.clone()), check);
        same(vault.get(&secret.project, &SecretRef::Id(secret.id)), secret, check);

        let (name, values) = &self.values[chosen % self.values.len()];
        same(all(vault, name), values, check);
        let tags: Vec<Tag> = values.iter().map(|(tag, _)| tag.clone()).collect();
        let revealed = vault
            .scope(name)
            .reveal(&tags)
            .map(|all| all.into_iter().map(plain).collect::<Vec<_>>());
        same(revealed, &values.iter().cloned().map(Some).collect::<Vec<_>>(), check);

        let first = &self.projects[0].0;
        let absent = Tag::parse("not-there").expect("it is a tag");
        same(vault.find(first, &absent), &None, check);
        match vault.get(first, &SecretRef::Id(SecretId([0; 8]))) {
            Ok(_) => panic!("a secret was invented"),
            Err(VaultError::NoSecret { .. }) => {}
            Err(error) => check(&error),
        }
    }

    /// Writes a secret. Either it is added next to the existing ones or the write is refused. Damaged
    /// data is never signed again. Returns the secret if it was created.
    pub(super) fn write(&self, vault: &Vault, check: Check) -> Option<Secret> {
        let value =
            SecretValue::new(SecretBytes::copy_of(b"a new value"), false).expect("it is a value");
        let tag = Tag::parse("new-one").expect("it is a tag");
        match vault.create(&self.projects[0].0, NewSecret::new(tag, value)) {
            Ok(created) => Some(created),
            Err(error) => {
                check(&error);
                None
            }
        }
    }

    /// Lists a vault after [`Answers::write`].
    pub(super) fn ask_after(&self, vault: &Vault, created: &Secret, check: Check) {
        match vault.list(None, |_| true) {
            Err(error) => check(&error),
            Ok(listed) => {
                let (ours, others): (Vec<_>, Vec<_>) =
                    listed.into_iter().partition(|secret| secret.id == created.id);
                let is_same = ours == [created.clone()] && others == self.listed;
                assert!(is_same, "a write changed what it did not mean to");
            }
        }
    }
}

/// Returns the values of a project.
pub(super) fn all(vault: &Vault, project: &ProjectName) -> Result<Values, VaultError> {
    let values = vault.scope(project).reveal_all()?;
    Ok(values.into_iter().map(|(tag, value)| (tag, value.expose().to_vec())).collect())
}

fn plain(revealed: Revealed) -> Option<(Tag, Vec<u8>)> {
    match revealed {
        Revealed::Value { tag, value } => Some((tag, value.expose().to_vec())),
        Revealed::Missing { .. } => None,
    }
}

/// Compares an answer with that of the original.
pub(super) fn same<T: PartialEq, E: Into<VaultError>>(
    found: Result<T, E>,
    expected: &T,
    check: Check,
) {
    match found {
        Ok(found) => assert!(found == *expected, "an answer that the original does not give"),
        Err(error) => check(&error.into()),
    }
}
