//! Parses `.secrets.toml`, which says what a project's directory needs. The file never holds a
//! value, and no message about it repeats text that could be one.
//!
//! A file with an unknown key or a value of the wrong type is refused, with line and column.

mod environments;
pub(super) mod places;
mod proxy;
mod tables;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::ops::Range;
use std::path::{Path, PathBuf};

use secrets_core::crypto::ids::Hash;
use secrets_core::crypto::random::Alphabet;
use secrets_core::crypto::witness::Witness;
use secrets_core::model::{Description, Period, ProjectName, Source, Tag, TagKey};
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::dotenv::readers::Readers;
use crate::position::{Lines, Position};
use crate::template::grammar::{Grammar, Malformed};
use crate::template::{Event, ScanDetails, ScanError, scan};
use crate::variables::{is_dangerous, is_name, is_setting};
pub use environments::{EnvironmentName, ManifestEnvironment};
pub use proxy::{ProxyRule, ProxySettings};
use tables::{AlphabetWord, File, RenderTable, SecretTable, StrictTable};

pub const MANIFEST: &str = ".secrets.toml";
/// The maximum size of a manifest in bytes.
pub const MAX_SIZE: u64 = 1024 * 1024;

/// A parsed manifest, without an environment or in one.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The directory, relative to the working directory: empty, or `..`, `../..` and so on
    pub directory: PathBuf,
    /// SHA-256 of the file's text
    pub digest: Hash,
    /// The project that the placeholders take secrets from
    pub project: Option<ProjectName>,
    /// A state that this project must follow
    pub witness: Option<Witness>,
    /// `[secrets.TAG]`, in the file's order
    pub secrets: Vec<Declaration>,
    /// `[[render]]`, in the file's order
    pub render: Vec<RenderEntry>,
    /// `[run.env]`, in the file's order; `None` if the file has no such table
    pub run: Option<Vec<Variable>>,
    /// `[proxy]` and `[[proxy.rule]]`; `None` if the file has no such table
    pub proxy: Option<ProxySettings>,
    /// `[environments.NAME]`, in the file's order
    pub environments: Vec<ManifestEnvironment>,
    /// The index of each declaration in `secrets`
    places: HashMap<TagKey, usize>,
    /// The manifest without an environment; `None` if this is it
    base: Option<Box<Manifest>>,
}

/// A secret that the project needs.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Its tag, as spelled in the manifest
    pub tag: Tag,
    /// The purpose of the secret
    pub description: Option<Description>,
    /// How to generate a value if the secret has none
    pub generate: Option<Generate>,
    /// True if the project works without it
    pub optional: bool,
    /// The web page where a new value can be had. Nothing opens it
    pub source: Option<Source>,
    /// The time after which a new value expires
    pub expires_after: Option<Period>,
    /// The position of the tag
    pub position: Position,
}

#[derive(Debug, Clone, Copy)]
pub struct Generate {
    /// The number of characters, 4 to 1,024
    pub length: usize,
    /// The characters to draw from
    pub alphabet: Alphabet,
}

/// A file to render. Its paths are relative to the manifest's directory and stay inside it.
#[derive(Debug, Clone)]
pub struct RenderEntry {
    pub template: PathBuf,
    /// The file that is rendered from it
    pub output: PathBuf,
    /// The permission bits of the output, if the manifest sets them
    pub mode: Option<u32>,
    pub grammar: Grammar,
    /// The programs that read the output, if it is a dotenv file and the manifest names them
    pub readers: Option<Readers>,
}

/// A variable of `[run.env]`.
#[derive(Debug, Clone)]
pub struct Variable {
    pub name: String,
    /// Its value, which is a template
    pub text: String,
    /// The position of the value
    pub position: Position,
    /// The range of bytes in the file that the value takes
    pub span: Range<usize>,
}

/// Why and where a manifest was refused.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ManifestError {
    /// The position of the problem, if it is known
    pub at: Option<Position>,
    /// What is wrong. It repeats keys, tags and paths, but no text from a place where a value could
    /// be
    pub message: String,
}

impl Manifest {
    /// Parses the file's text. `directory` is where the file was found, relative to the working
    /// directory.
    pub fn parse(directory: &Path, text: &str) -> Result<Self, ManifestError> {
        let lines = Lines::of(text.as_bytes());
        let file: File = toml::from_str(text).map_err(|error| refused(&lines, &error))?;
        let mut manifest = Self {
            directory: directory.to_owned(),
            digest: Sha256::digest(text).into(),
            project: file.project.map(|name| name.0),
            witness: file.witness.map(|witness| witness.0),
            secrets: declarations(&lines, file.secrets)?,
            places: HashMap::new(),
            render: Vec::new(),
            run: file
                .run
                .and_then(|run| run.0.env)
                .map(|env| variables(&lines, env))
                .transpose()?,
            proxy: file.proxy.map(|table| proxy::settings(&lines, table.0)).transpose()?,
            environments: Vec::new(),
            base: None,
        };

        manifest.places =
            manifest.secrets.iter().map(|declaration| declaration.tag.key()).zip(0..).collect();
        let mut taken = Paths::default();
        for table in file.render {
            let start = table.span().start;
            let rendering = rendering(table.into_inner().0);
            taken
                .take(&rendering)
                .map_err(|message| ManifestError { at: Some(lines.position(start)), message })?;
            manifest.render.push(rendering);
        }

        manifest.environments = environments::environments(&lines, file.environments, &manifest)?;
        Ok(manifest)
    }

    /// Returns a path of the manifest relative to the working directory.
    pub fn at(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// Returns the path of the manifest itself.
    pub fn path(&self) -> PathBuf {
        self.at(Path::new(MANIFEST))
    }

    pub fn declaration(&self, key: &TagKey) -> Option<&Declaration> {
        self.places.get(key).map(|at| &self.secrets[*at])
    }
}

/// The paths of the entries so far. They show whether an output would replace a file that is read,
/// or collide with another output.
#[derive(Default)]
struct Paths {
    templates: HashSet<PathBuf>,
    outputs: HashSet<PathBuf>,
    /// The directories above the outputs
    above: HashSet<PathBuf>,
}

impl Paths {
    fn take(&mut self, new: &RenderEntry) -> Result<(), String> {
        let (template, output) = (new.template.display(), new.output.display());
        self.templates.insert(new.template.clone());
        if new.output == Path::new(MANIFEST) {
            return Err("the output is this manifest itself".into());
        } else if new.output.file_name() == Some(".gitignore".as_ref()) {
            return Err(format!("the output `{output}` would change what git ignores"));
        } else if self.templates.contains(&new.output) {
            return Err(format!("the output `{output}` is a template"));
        } else if self.outputs.contains(&new.template) {
            return Err(format!("the template `{template}` is an output"));
        } else if self.outputs.contains(&new.output) {
            return Err(format!("the output `{output}` is rendered twice"));
        }

        let mut above = new.output.ancestors().skip(1);
        if let Some(other) = above.find(|above| self.outputs.contains(*above)) {
            return Err(format!(
                "the output `{output}` is inside the output `{}`",
                other.display()
            ));
        } else if self.above.contains(&new.output) {
            return Err(format!("another output is inside the output `{output}`"));
        }

        self.above.extend(new.output.ancestors().skip(1).map(Path::to_owned));
        self.outputs.insert(new.output.clone());
        Ok(())
    }
}

fn declarations(
    lines: &Lines,
    tables: BTreeMap<Spanned<String>, StrictTable<SecretTable>>,
) -> Result<Vec<Declaration>, ManifestError> {
    let mut tables: Vec<_> = tables.into_iter().collect();
    tables.sort_by_key(|(tag, _)| tag.span().start);
    let mut known: HashMap<TagKey, Tag> = HashMap::new();
    let mut declarations = Vec::with_capacity(tables.len());

    for (spelled, StrictTable(table)) in tables {
        let position = lines.position(spelled.span().start);
        let refused = |message| ManifestError { at: Some(position), message };
        let tag = Tag::parse(spelled.get_ref())
            .map_err(|why| refused(format!("invalid tag in `[secrets.TAG]`: {why}")))?;

        if let Some(other) = known.insert(tag.key(), tag.clone()) {
            return Err(refused(format!("`{tag}` and `{other}` are the same tag")));
        }

        let alphabet = |word| match word {
            AlphabetWord::Alnum => Alphabet::Alnum,
            AlphabetWord::Hex => Alphabet::Hex,
            AlphabetWord::Base64url => Alphabet::Base64Url,
            AlphabetWord::Ascii => Alphabet::Ascii,
        };

        declarations.push(Declaration {
            tag,
            description: table.description.and_then(|words| words.0),
            generate: table.generate.map(|StrictTable(generate)| Generate {
                length: generate.length.0.into(),
                alphabet: alphabet(generate.alphabet),
            }),
            optional: table.optional,
            source: table.source.and_then(|address| address.0),
            expires_after: table.expires_after.map(|period| period.0),
            position,
        });
    }

    Ok(declarations)
}

/// Refuses the variables that `run` would refuse, so that `check` and `setup` report them too.
fn variables(
    lines: &Lines,
    env: BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<Vec<Variable>, ManifestError> {
    let mut variables = Vec::with_capacity(env.len());
    for (name, value) in env {
        let refused =
            |at: usize, message: String| ManifestError { at: Some(lines.position(at)), message };
        let (at, name, span) = (name.span().start, name.into_inner(), value.span());
        if !is_name(&name) {
            return Err(refused(
                at,
                "invalid variable name in `[run.env]`: use letters, digits and `_`, no digit first"
                    .into(),
            ));
        } else if is_setting(&name) {
            return Err(refused(
                at,
                format!("`{name}` is a setting of `secrets`, which a manifest cannot change"),
            ));
        } else if is_dangerous(&name) {
            return Err(refused(
                at,
                format!("`{name}` can change what programs run; only `run --env` can set it"),
            ));
        }

        let value = value.into_inner();
        if let Some(why) = malformed(&value) {
            return Err(refused(span.start, format!("invalid placeholder: {why}")));
        }

        variables.push(Variable { name, text: value, position: lines.position(span.start), span });
    }

    variables.sort_by_key(|variable| variable.span.start);
    Ok(variables)
}

fn malformed(text: &str) -> Option<Malformed> {
    let mut found = None;
    let done: Result<(), ScanError<Infallible>> = scan(
        &mut text.as_bytes(),
        &Grammar::default(),
        text.len() + 1,
        ScanDetails::NONE,
        |event| {
            if let Event::Malformed(why, _) = event {
                found.get_or_insert(why);
            }

            Ok(())
        },
    );

    found.filter(|_| done.is_ok())
}

fn rendering(table: RenderTable) -> RenderEntry {
    let readers = table.readers.map(|list| list.0);
    let grammar = Grammar {
        delimiters: table.delimiters.map(|text| text.0).unwrap_or_default(),
        namespaced: table.namespaced,
        escape: table.escape.map(|text| text.0),
        readers: readers.unwrap_or_default(),
    };

    let (template, output) = (table.template.0.0, table.output.0.0);
    RenderEntry { template, output, mode: table.mode.map(|text| text.0.0), grammar, readers }
}

/// Converts the parser's error. It drops what the parser repeats of the file, because somebody may
/// have put a value there.
fn refused(lines: &Lines, error: &toml::de::Error) -> ManifestError {
    let message = error.message();

    // A key may contain newlines.
    let one_line = message.replace('\n', "\\n");
    let first = message.lines().next().unwrap_or("invalid TOML");
    let text = if message.starts_with("unknown field") { &one_line } else { first };
    let wrong_type =
        text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));

    let message = match (
        wrong_type.and_then(|text| text.rsplit_once(", expected ")),
        text.rsplit_once("unknown variant"),
    ) {
        (Some((found, expected)), _) => {
            let found = found.split([' ', '`', '"']).next().unwrap_or_default();
            let expected = expected.trim_start_matches("struct ").trim_end_matches("Table");
            let expected = match expected {
                "Secret" | "Generate" | "Render" | "Run" | "Proxy" | "Rule" | "Except"
                | "Environment" | "File" | "a map" => "a table",
                "a sequence" => "an array of tables",
                "i64" => "an integer",
                other => other,
            };

            let brackets = if expected == "an array of tables" {
                "; write the name in double brackets"
            } else {
                Default::default()
            };

            format!("expected {expected}, found {}{brackets}", type_name(found))
        }

        (_, Some((_, variants))) => {
            // The last match is the right one, because text from the file comes before it.
            let expected =
                variants.rsplit_once(", expected ").map_or("another one", |(_, expected)| expected);
            format!("unknown value, expected {expected}")
        }

        _ => text.replace("unknown field", "unknown key").replace("missing field", "missing key"),
    };

    ManifestError { at: error.span().map(|span| lines.position(span.start)), message }
}

fn type_name(kind: &str) -> &'static str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "floating" => "a float",
        "boolean" => "a boolean",
        "map" => "a table",
        "sequence" => "an array",
        _ => "another type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dotenv::readers::Reader;

    fn parsed(text: &str) -> Result<Manifest, String> {
        Manifest::parse(Path::new(""), text).map_err(|error| match error.at {
            Some(at) => format!("{}:{}: {error}", at.line, at.column),
            None => error.to_string(),
        })
    }

    pub(super) fn readers_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "array",
            "minItems": 1,
            "items": { "type": "string", "enum": Reader::NAMES }
        })
    }

    #[test]
    fn every_key_is_accepted() {
        let manifest = parsed(
            "project = \"web\"\n\
             [secrets.database-url]\ndescription = \"PostgreSQL URL\"\n\
             source = \"https://example.com/keys\"\nexpires-after = \"90d\"\n\
             [secrets.session-key]\ngenerate = { length = 64, alphabet = \"hex\" }\n\
             [secrets.sentry-dsn]\noptional = true\n\
             [[render]]\ntemplate = \"./config/app.env.tmpl\"\noutput = \".env\"\nmode = \"640\"\nescape = \"json\"\n\
             delimiters = \"[[,]]\"\nnamespaced = true\nreaders = [\"compose\", \"bash\"]\n\
             [run.env]\nB = \"{{ secrets.database-url }}\"\nA = \"1\"\n",
        )
        .unwrap();

        let tags: Vec<&str> = manifest.secrets.iter().map(|secret| secret.tag.as_str()).collect();
        assert_eq!(tags, ["database-url", "session-key", "sentry-dsn"]);
        assert_eq!(manifest.secrets[1].generate.unwrap().length, 64);
        assert_eq!(manifest.secrets[0].source, Source::parse("https://example.com/keys").unwrap());
        assert_eq!(manifest.secrets[0].expires_after, Some(Period::of_days(90)));
        assert_eq!(manifest.secrets[1].source, None);
        assert_eq!(manifest.secrets[1].expires_after, None);
        assert_eq!(manifest.secrets[2].position, Position { line: 8, column: 10 });
        assert_eq!(manifest.render[0].template, Path::new("config/app.env.tmpl"));
        assert_eq!(manifest.render[0].mode, Some(0o640));

        let readers: Vec<&str> =
            manifest.render[0].readers.unwrap().iter().map(Reader::name).collect();
        assert_eq!(readers, ["bash", "compose"]);
        assert_eq!(manifest.render[0].grammar.readers, manifest.render[0].readers.unwrap());
        let names: Vec<&str> =
            manifest.run.as_ref().unwrap().iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(names, ["B", "A"]);
        assert!(
            parsed("").unwrap().run.is_none()
                && parsed("[run.env]\n").unwrap().run.unwrap().is_empty()
        );
    }

    #[test]
    #[allow(clippy::too_many_lines)] // a table
    fn errors_name_the_line_and_column() {
        for (text, message) in [
            (
                "projct = \"web\"",
                "1:1: unknown key `projct`, expected one of `project`, `witness`, `secrets`, `render`, `run`, `proxy`",
            ),
            ("project = 5", "1:11: expected a string, found an integer"),
            ("project = \"a b\"", "1:11: only ASCII letters, digits, `_`, `.` and `-` are allowed"),
            ("project = [\n", "1:12: "),
            ("[secrets]\nkey = \"sk_live_1234567890\"", "2:7: expected a table, found a string"),
            (
                "[secrets.key]\nvalue = \"sk_live_1234567890\"",
                "2:1: unknown key `value`, expected one of ",
            ),
            ("[secrets.key]\noptional = \"yes\"", "2:12: expected a boolean, found a string"),
            ("[secrets.\"a b\"]\n", "1:10: invalid tag in `[secrets.TAG]`: "),
            ("[secrets.a-b]\n[secrets.A_B]\n", "2:10: `A_B` and `a-b` are the same tag"),
            (
                "[secrets.a]\ngenerate = { length = 3 }",
                "2:23: a generated value must have 4 to 1024 characters",
            ),
            (
                "[secrets.a]\ngenerate = { alphabet = \"hexx\" }",
                "2:25: unknown value, expected one of `alnum`, `hex`",
            ),
            ("[secrets.a]\ngenerate = true", "2:12: expected a table, found a boolean"),
            (
                "[secrets.a]\nsource = \"ftp://sk_live\"",
                "2:10: it does not begin with `https://` or `http://` and a host",
            ),
            (
                "[secrets.a]\nsource = \"https://github.com@sk_live\"",
                "2:10: it contains a user name",
            ),
            (
                "[secrets.a]\nexpires-after = \"sk_live\"",
                "2:17: expected a period such as `12h`, `90d`, `2w`, `6m` or `1y`",
            ),
            ("[secrets.a]\nexpires-after = 90", "2:17: expected a string, found an integer"),
            ("[[render]]\noutput = \".env\"", "1:1: missing key `template`"),
            (
                "[[render]]\ntemplate = \"/etc/x\"\noutput = \".env\"",
                "2:12: the path leads out of the directory of this file",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"../.env\"",
                "3:10: the path leads out of the directory of this file",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"a/.GIT/hooks/x\"",
                "3:10: the path is inside a `.git` directory",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"a/\"",
                "3:10: this is not the path of a file",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \".secrets.toml\"",
                "1:1: the output is this manifest itself",
            ),
            ("[[render]]\ntemplate = \"t\"\noutput = \"./t\"", "1:1: the output `t` is a template"),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nmode = 640",
                "4:8: expected a string, found an integer",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nmode = \"888\"",
                "4:8: `mode` must be three octal digits",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nescape = \"html\"",
                "4:10: unknown filter; the filters are json, ",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"o\"\ndelimiters = \"[[\"",
                "4:14: expected two delimiters",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nreaders = [\"nodejs\"]",
                "4:11: unknown reader; the readers are bash, compose, ",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nreaders = []",
                "4:11: the list of readers is empty",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nreaders = \"node\"",
                "4:11: expected a list of readers, found a string",
            ),
            ("[run]\nenvv = 1", "2:1: unknown key `envv`, expected `env`"),
            ("[run.env]\nPATH = \"x\"", "2:1: `PATH` can change what programs run"),
            ("[run.env]\n\"A B\" = \"x\"", "2:1: invalid variable name in `[run.env]`"),
            (
                "[run.env]\nSECRETS_PASSPHRASE = \"x\"",
                "2:1: `SECRETS_PASSPHRASE` is a setting of `secrets`, ",
            ),
            (
                "[run.env]\nsecrets_vault = \"x\"",
                "2:1: `secrets_vault` is a setting of `secrets`, which a manifest cannot",
            ),
            (
                "[run.env]\nnpm_config_script_shell = \"x\"",
                "2:1: `npm_config_script_shell` can change what programs run",
            ),
            (
                "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nmode = \"710\"",
                "4:8: `mode` cannot set an execute bit; use \"600\", \"640\" or \"644\"",
            ),
            ("[run.env]\nA = \"{{ secrets.! }}\"", "2:5: invalid placeholder: "),
            (
                "[render]\ntemplate = \"x\"",
                "1:1: expected an array of tables, found a table; \
                 write the name in double brackets",
            ),
            (
                "[secrets.a]\ngenerate = { length = 9.5 }",
                "2:23: expected an integer, found a float",
            ),
            ("[run.env]\nA = 1", "2:5: expected a string, found an integer"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(message), "{text}\n{error}");
            assert!(!error.contains("sk_live"), "{error}");
        }

        let twice = "[[render]]\ntemplate = \"t\"\noutput = \"o\"\n";
        assert_eq!(parsed(&twice.repeat(2)).unwrap_err(), "4:1: the output `o` is rendered twice");
        let chained = format!("{twice}[[render]]\ntemplate = \"o\"\noutput = \"p\"\n");
        assert_eq!(parsed(&chained).unwrap_err(), "4:1: the template `o` is an output");
    }

    #[test]
    fn rules_of_the_proxy_are_read() {
        let manifest = parsed(
            "[proxy]\nothers = \"tunnel\"\nupstream = \"none\"\nprivate = [\"git.corp.example\"]\n\
             [[proxy.rule]]\nsecret = \"stripe-key\"\nto = \"https://api.stripe.com\"\n\
             methods = [\"POST\", \"GET\"]\npaths = [\"/v1/**\"]\nin = \"header:X-Key\"\ntimes = 2\n\
             except = [{ methods = [\"POST\"], paths = [\"/v1/refunds/**\"] }, {}]\nenv = \"KEY\"\n\
             shape = \"sk_test_\"\nrate = \"120/m\"\n\
             [[proxy.rule]]\nsecret = \"aws-secret\"\nkey-id = \"aws-id\"\nsign = \"sigv4\"\n\
             to = \"https://*.amazonaws.com/a\"\n",
        )
        .unwrap();
        let proxy = manifest.proxy.unwrap();
        assert!(proxy.tunnels_others && proxy.ignores_company && proxy.private.len() == 1);
        let [first, second] = &proxy.rules[..] else { panic!() };
        assert_eq!(
            first.to_string(),
            "stripe-key as KEY to https://api.stripe.com in header:x-key, methods GET,POST, /v1/**, \
             except POST /v1/refunds/**, except * /**, 2 times in a request, 120 requests in 60 s, \
             placeholder like sk_test_"
        );
        assert_eq!((first.times, first.rate, first.except.len()), (2, Some((120, 60)), 2));
        assert_eq!(first.shape.as_deref(), Some("sk_test_"));
        assert_eq!(
            second.to_string(),
            "aws-secret as AWS_SECRET to https://*.amazonaws.com in sigv4, methods *, /a, \
             with the id aws-id"
        );
        assert_eq!(second.key_id.as_ref().unwrap().as_str(), "aws-id");
        assert!(parsed("").unwrap().proxy.is_none());
        assert!(parsed("[proxy]").unwrap().proxy.unwrap().rules.is_empty());
    }

    #[test]
    fn bad_rules_of_the_proxy_are_refused() {
        let rule = "[[proxy.rule]]\nsecret = \"a\"\nto = \"https://a.example\"\n";
        for (text, message) in [
            ("[proxy]\nothers = \"x\"", "2:10: unknown value, expected `refuse` or `tunnel`"),
            ("[proxy]\nprivate = [\"a b\"]", "2:11: the host is not a valid name"),
            ("[[proxy.rule]]\nsecret = \"a\"", "1:1: missing key `to`"),
            (
                "[[proxy.rule]]\nsecret = \"a\"\nto = \"http://a\"",
                "3:6: it does not begin with `https://`",
            ),
            (&format!("{rule}methods = [\"GET,PUT\"]"), "4:11: a method is a word such as GET"),
            (&format!("{rule}paths = [\"v1\"]"), "4:9: the path does not begin with `/`"),
            (&format!("{rule}in = \"x\""), "4:6: a place is `header:NAME`"),
            (&format!("{rule}times = 0"), "1:1: `times` must be from 1 to 100"),
            (&format!("{rule}rate = \"9\""), "4:8: expected a rate such as `120/m`"),
            (&format!("{rule}env = \"PATH\""), "1:1: `PATH` can change what programs run"),
            (&format!("{rule}env = \"SECRETS_TOKEN\""), "1:1: `SECRETS_TOKEN` is a setting"),
            (&format!("{rule}shape = \"$(x)\""), "4:9: a shape has at most 32 letters"),
            (&format!("{rule}sign = \"sigv4\""), "1:1: `sign` and `key-id` belong together"),
            (&format!("{rule}key = 1"), "4:1: unknown key `key`"),
            (
                &format!("{rule}env = \"K\"\n{}env = \"K\"", rule.replace("\"a\"", "\"b\"")),
                "5:1: two rules set `K`",
            ),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(message), "{text}\n{error}");
        }
    }

    /// Editors use the schema to complete and check the file.
    #[test]
    fn generated_schema_is_current() {
        let mut schema = schemars::schema_for!(File);
        schema.insert(
            "$comment".into(),
            "Generated from crates/project/src/setup/manifest/tables.rs by `just generate`".into(),
        );

        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/secrets.schema.json");
        #[allow(clippy::disallowed_methods)]
        if std::env::var_os("SECRETS_GENERATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }

        assert!(
            std::fs::read_to_string(&path).is_ok_and(|found| found == text),
            "stale: run `just generate`"
        );
    }
}
