//! `[environments.NAME]`: other sets of values for the same set-up.
//!
//! An environment has a project of its own, because projects share nothing. It can give outputs other
//! paths, and add variables to `[run.env]` or replace some.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrets_core::crypto::witness::Witness;
use secrets_core::model::ProjectName;
use toml::Spanned;

use super::tables::{EnvironmentTable, RelativePath, StrictTable};
use super::{Manifest, ManifestError, Paths, RenderEntry, Variable, variables};
use crate::position::Lines;

/// The name of an environment: 1 to 64 letters, digits, `_` and `-`, without `-` at its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentName(String);

/// The maximum number of characters of a name.
const MAX_NAME: usize = 64;

impl EnvironmentName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvironmentName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if text.is_empty() || text.len() > MAX_NAME {
            Err("the name of an environment has 1 to 64 characters")
        } else if text.starts_with('-') || !text.bytes().all(is_allowed) {
            Err("the name of an environment has only letters, digits, `_` and `-`, with no `-` at \
                 its beginning")
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An environment of a manifest.
#[derive(Debug, Clone)]
pub struct ManifestEnvironment {
    pub name: EnvironmentName,
    /// The project with its values
    pub project: ProjectName,
    /// A state that the project must follow
    witness: Option<Witness>,
    /// The outputs with another path: the index in `render`, and that path
    outputs: Vec<(usize, PathBuf)>,
    /// The variables that are added to `[run.env]`, or replace one of it
    pub variables: Vec<Variable>,
}

impl ManifestEnvironment {
    /// Returns the outputs with another path: the path in `[[render]]`, and that of the environment.
    pub fn outputs<'a>(
        &'a self,
        manifest: &'a Manifest,
    ) -> impl Iterator<Item = (&'a PathBuf, &'a PathBuf)> {
        self.outputs.iter().map(|(at, output)| (&manifest.base().render[*at].output, output))
    }

    fn render(&self, render: &[RenderEntry]) -> Vec<RenderEntry> {
        let mut render = render.to_vec();
        for (at, output) in &self.outputs {
            render[*at].output.clone_from(output);
        }

        render
    }
}

impl Manifest {
    /// Returns the manifest as it is in an environment, or `None` if it has no such environment.
    pub fn in_environment(&self, name: &EnvironmentName) -> Option<Self> {
        let base = self.base();
        let environment = base.environments.iter().find(|it| it.name == *name)?;
        let mut manifest = Self { base: Some(Box::new(base.clone())), ..base.clone() };
        manifest.project = Some(environment.project.clone());
        manifest.witness = environment.witness;
        manifest.render = environment.render(&base.render);
        if !environment.variables.is_empty() {
            let all = manifest.run.get_or_insert_default();
            for variable in &environment.variables {
                match all.iter_mut().find(|known| known.name == variable.name) {
                    Some(known) => *known = variable.clone(),
                    None => all.push(variable.clone()),
                }
            }
        }

        Some(manifest)
    }

    /// Returns the manifest without an environment.
    pub fn base(&self) -> &Self {
        self.base.as_deref().unwrap_or(self)
    }
}

/// Reads the environments. `manifest` has everything else.
pub(super) fn environments(
    lines: &Lines,
    tables: BTreeMap<Spanned<String>, StrictTable<EnvironmentTable>>,
    manifest: &Manifest,
) -> Result<Vec<ManifestEnvironment>, ManifestError> {
    let mut tables: Vec<_> = tables.into_iter().collect();
    tables.sort_by_key(|(name, _)| name.span().start);
    let mut environments: Vec<ManifestEnvironment> = Vec::with_capacity(tables.len());

    for (spelled, StrictTable(table)) in tables {
        let at = lines.position(spelled.span().start);
        let refused = |message: String| ManifestError { at: Some(at), message };
        let name: EnvironmentName =
            spelled.get_ref().parse().map_err(|why: &str| refused(why.into()))?;

        let project = match (table.project, &manifest.project) {
            (Some(project), _) => project.0,
            (None, Some(base)) => ProjectName::parse(&format!("{base}.{name}"))
                .map_err(|why| refused(format!("environment `{name}` needs `project`: {why}")))?,
            (None, None) => {
                let why = "because this file names no project";
                return Err(refused(format!("environment `{name}` needs `project`, {why}")));
            }
        };

        if manifest.project.as_ref() == Some(&project) {
            return Err(refused(format!(
                "environment `{name}` needs another project than `{project}`, which is that of this file"
            )));
        } else if let Some(other) = environments.iter().find(|other| other.project == project) {
            return Err(refused(format!(
                "environments `{}` and `{name}` have the same project `{project}`",
                other.name
            )));
        }

        let mut outputs = Vec::new();
        for (from, to) in table.outputs {
            let position = lines.position(from.span().start);
            let refused = |message: String| ManifestError { at: Some(position), message };
            let RelativePath(path) =
                from.get_ref().parse().map_err(|why: &str| refused(why.into()))?;
            let index = manifest.render.iter().position(|entry| entry.output == path);
            let index = index.ok_or_else(|| {
                refused(format!("`{}` is not the output of a `[[render]]`", path.display()))
            })?;
            outputs.push((index, to.0.0));
        }

        let env = table.run.and_then(|run| run.0.env);
        let variables = env.map(|env| variables(lines, env)).transpose()?.unwrap_or_default();
        let witness = table.witness.map(|witness| witness.0);
        let environment = ManifestEnvironment { name, project, witness, outputs, variables };
        let mut taken = Paths::default();
        for entry in environment.render(&manifest.render) {
            let named = |why| format!("environment `{}`: {why}", environment.name);
            taken.take(&entry).map_err(|why| refused(named(why)))?;
        }

        environments.push(environment);
    }

    Ok(environments)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(text: &str) -> Result<Manifest, String> {
        Manifest::parse(Path::new(""), text).map_err(|error| error.to_string())
    }

    const TEXT: &str = "project = \"web\"\n\
        [[render]]\ntemplate = \"a.tmpl\"\noutput = \"a\"\n\
        [[render]]\ntemplate = \"b.tmpl\"\noutput = \"b\"\n\
        [run.env]\nA = \"1\"\nB = \"2\"\n\
        [environments.staging]\noutputs = { b = \"b.staging\" }\n\
        [environments.staging.run.env]\nC = \"4\"\nB = \"3\"\n\
        [environments.production]\nproject = \"live\"\n";

    #[test]
    fn an_environment_replaces_what_it_names() {
        let manifest = parsed(TEXT).unwrap();
        let names: Vec<_> = manifest.environments.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["staging", "production"]);

        let view = |manifest: &Manifest| {
            let outputs: Vec<_> =
                manifest.render.iter().map(|it| it.output.display().to_string()).collect();
            let variables: Vec<_> = manifest
                .run
                .iter()
                .flatten()
                .map(|it| format!("{}={}", it.name, it.text))
                .collect();
            format!("{:?} {outputs:?} {variables:?}", manifest.project.as_ref().unwrap().as_str())
        };

        let of = |name: &str| manifest.in_environment(&name.parse().unwrap());
        let base = r#""web" ["a", "b"] ["A=1", "B=2"]"#;
        assert_eq!(view(&manifest), base);
        let staging = of("staging").unwrap();
        let expected = r#""web.staging" ["a", "b.staging"] ["A=1", "B=3", "C=4"]"#;
        assert_eq!(view(&staging), expected);
        assert_eq!(view(staging.base()), base);
        assert_eq!(view(&of("production").unwrap()), r#""live" ["a", "b"] ["A=1", "B=2"]"#);
        assert!(of("test").is_none());

        let between = staging.in_environment(&"production".parse().unwrap()).unwrap();
        assert_eq!(view(&between), view(&of("production").unwrap()));
    }

    #[test]
    fn environments_that_would_collide_are_refused() {
        let render = "[[render]]\ntemplate = \"a.tmpl\"\noutput = \"a\"\n\
                      [[render]]\ntemplate = \"b.tmpl\"\noutput = \"b\"\n";
        for (text, message) in [
            ("[environments.x]\n", "environment `x` needs `project`"),
            ("[environments.\"a b\"]\n", "only letters, digits"),
            ("[environments.\"\"]\n", "1 to 64 characters"),
            (
                "project = \"web\"\n[environments.x]\nproject = \"web\"\n",
                "another project than `web`",
            ),
            (
                "project = \"web\"\n[environments.x]\n[environments.y]\nproject = \"web.x\"\n",
                "environments `x` and `y` have the same project `web.x`",
            ),
            ("project = \"web\"\n[environments.x]\nvalues = 1\n", "unknown key `values`"),
            (
                "project = \"web\"\n[environments.x]\noutputs = { c = \"d\" }\n",
                "`c` is not the output of a `[[render]]`",
            ),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }

        for (outputs, message) in [
            ("a = \"b\"", "rendered twice"),
            ("a = \"b.tmpl\"", "`b.tmpl` is an output"),
            ("a = \"b/c\"", "is inside the output `b`"),
            ("a = \"../c\"", "leads out of the directory"),
            ("a = \".secrets.toml\"", "this manifest itself"),
        ] {
            let text =
                format!("project = \"web\"\n{render}[environments.x]\noutputs = {{ {outputs} }}\n");
            let error = parsed(&text).unwrap_err();
            assert!(error.contains(message), "{outputs}: {error}");
        }

        let swapped = format!(
            "project = \"web\"\n{render}[environments.x]\noutputs = {{ a = \"b\", b = \"a\" }}\n"
        );
        assert!(parsed(&swapped).is_ok());
        let dangerous = "project = \"web\"\n[environments.x.run.env]\nLD_PRELOAD = \"x\"\n";
        assert!(parsed(dangerous).unwrap_err().contains("can change what programs run"));
    }
}
