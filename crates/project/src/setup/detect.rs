//! Guesses which programs read a project's dotenv files from the other files of the project.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::dotenv::readers::Reader;

/// The number of bytes of a file that are searched.
const MAX_SIZE: u64 = 1024 * 1024;

const COMPOSE: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const PYTHON: [&str; 5] =
    ["pyproject.toml", "requirements.txt", "requirements-dev.txt", "Pipfile", "setup.cfg"];
/// Packages that read dotenv files with python-dotenv.
const PYTHON_PACKAGES: [&str; 3] = ["python-dotenv", "pydantic-settings", "flask"];
const NPM_PACKAGES: [(&str, Reader); 4] = [
    ("next", Reader::Nextjs),
    ("vite", Reader::Vite),
    ("dotenv", Reader::NpmDotenv),
    ("dotenv-cli", Reader::NpmDotenv),
];

/// Returns the likely readers, each with the file that suggests it. Only files directly in
/// `directory` count.
pub fn readers(directory: &Path) -> Vec<(Reader, &'static str)> {
    let mut found = Vec::new();
    let compose = COMPOSE.into_iter().find(|name| directory.join(name).is_file());
    found.extend(compose.map(|name| (Reader::Compose, name)));

    if let Some(package) =
        read(directory, "package.json").and_then(|text| serde_json::from_slice(&text).ok())
    {
        let readers = readers_of_package(&package);
        found.extend(readers.into_iter().map(|reader| (reader, "package.json")));
    }

    let mentions_python = |name: &&str| {
        let text = read(directory, name).unwrap_or_default().to_ascii_lowercase();
        PYTHON_PACKAGES
            .iter()
            .any(|package| memchr::memmem::find(&text, package.as_bytes()).is_some())
    };

    found.extend(PYTHON.into_iter().find(mentions_python).map(|name| (Reader::PythonDotenv, name)));

    // direnv reads a dotenv file much like a shell.
    let mentions_env = |text: &[u8]| memchr::memmem::find(text, b"env").is_some();
    if read(directory, ".envrc").is_some_and(|text| mentions_env(&text)) {
        found.push((Reader::Bash, ".envrc"));
    }

    found
}

fn readers_of_package(package: &serde_json::Value) -> Vec<Reader> {
    let depends = |name: &str| {
        let lists = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
        lists.iter().any(|list| package[*list].get(name).is_some())
    };

    let scripts = package["scripts"].as_object();
    let is_run_with = |option: &str| {
        let mut commands = scripts
            .iter()
            .flat_map(|scripts| scripts.values())
            .filter_map(serde_json::Value::as_str);

        commands.any(|command| command.contains(option))
    };

    let mut readers: Vec<Reader> = Vec::new();
    for (_, reader) in NPM_PACKAGES.into_iter().filter(|(name, _)| depends(name)) {
        if !readers.contains(&reader) {
            readers.push(reader);
        }
    }

    if is_run_with("--env-file") {
        readers.push(Reader::Node);
    }

    readers
}

/// Reads the beginning of a regular file.
fn read(directory: &Path, name: &str) -> Option<Vec<u8>> {
    let path = directory.join(name);

    // Opening a FIFO would block.
    if !fs::metadata(&path).ok()?.is_file() {
        return None;
    }

    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(MAX_SIZE).read_to_end(&mut text).ok()?;
    Some(text)
}
