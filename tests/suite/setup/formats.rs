//! A value that breaks its output, or that readers disagree about, is a warning.

use crate::support::repository::Project;

/// A changed value may end the quotes around the first one, or mean something else to a reader.
#[test]
fn a_value_that_readers_disagree_about_is_a_warning() {
    let manifest = "project = \"web\"\n[[render]]\ntemplate = \"t\"\noutput = \"a.env\"\n";
    let project = Project::new(&[
        (".secrets.toml", manifest),
        (
            "t",
            "GREETING=hello world\nA='{{ secrets.a }}'\nB={{ secrets.b }}\nC=\"{{ C | json }}\"\nD={{ secrets.b | dotenv }}\n",
        ),
    ]);

    let warning = |text: &str| {
        let advice = "write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file";
        format!("warning: `a.env`: {text}; {advice}\n")
    };

    let all =
        "`bash`, `compose`, `node`, `npm-dotenv` and `python-dotenv` read a different value for";
    for (tag, value) in [("a", "plain"), ("b", "x"), ("c", "cc")] {
        project.store("web", tag, value);
    }

    for (tag, value, text) in [
        ("a", "fine # $HOME; x", Vec::new()),
        ("b", "abc#def", vec!["`node` and `npm-dotenv` read a different value for `B`".to_owned()]),
        ("b", "#x", vec!["`node` and `npm-dotenv` read a different value for `B`".to_owned()]),
        ("b", "pa$word", vec!["`bash` and `compose` read a different value for `B`".to_owned()]),
        ("b", "a;b", vec!["`bash` reads a different value for `B`".to_owned()]),
        ("b", "x\ny", vec![format!("{all} `B`")]),
        ("b", "x\nC=1", vec![format!("{all} `B`")]),
        ("b", "x", Vec::new()),
        (
            "c",
            "say \"c\"",
            vec!["`node` and `npm-dotenv` read a different value for `C`".to_owned()],
        ),
        (
            "a",
            "x'\nB='y",
            vec![
                format!("{all} `A`"),
                "`node` and `npm-dotenv` read a different value for `C`".to_owned(),
            ],
        ),
    ] {
        project.command(&["update", tag, "-q"]).stdin(value).run().succeeds();
        let run = project.run(&["render", "--all"]).succeeds();
        let warnings: String = text.iter().map(|text| warning(text)).collect();
        run.stderr(&(warnings + "wrote `a.env`\n"));
        if let Some(text) = text.first() {
            project.run(&["check"]).succeeds().stdout_has("undeclared").stderr_has(text);
        }
    }

    // Named readers decide, also about constants.
    project.write(".secrets.toml", manifest.to_owned() + "readers = [\"bash\", \"docker\"]\n");
    project.command(&["update", "a", "-q"]).stdin("a").run().succeeds();
    stderr!(project.run(&["render", "--all", "-q"]).succeeds(), @"
    warning: `a.env`: `bash` reads a different value for `GREETING`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    warning: `a.env`: `docker` reads different values for `A` and `C`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    ");

    let run = project.run(&["check"]).succeeds().stdout_has("undeclared");
    stderr!(run, @"
    warning: `a.env`: `bash` reads a different value for `GREETING`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    warning: `a.env`: `docker` reads different values for `A` and `C`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    project `web` has everything it needs and is up to date: 3 secrets, 1 output
    ");

    // A value that a reader cannot take is an error of the filter, not a warning.
    project.command(&["update", "b", "-q"]).stdin("x\ny").run().succeeds();
    let run = project.run(&["render", "--all"]).fails_with(2);
    stderr!(run, @"error: `b`: `docker` cannot read this value from a dotenv file in any spelling");
}

#[test]
fn json_and_yaml_that_a_value_breaks_are_a_warning() {
    let manifest = "project = \"web\"\n[[render]]\ntemplate = \"c.json.tmpl\"\noutput = \"c.json\"\n\
        [[render]]\ntemplate = \"v.tmpl\"\noutput = \"v.yaml\"\n[[render]]\ntemplate = \"h.tmpl\"\noutput = \"h.yml\"\n";
    let project = Project::new(&[
        (".secrets.toml", manifest),
        ("c.json.tmpl", "{\"n\": {{ secrets.n }}, \"p\": \"{{ secrets.p }}\"}"),
        ("v.tmpl", "app:\n  image: {{ secrets.p }}\n  n: {{ secrets.n }}\n"),
        // Before helm renders it, this is not YAML either.
        ("h.tmpl", "{{- if .Values.x }}\np: {{ secrets.p }}\n{{- end }}\n"),
    ]);

    project.store("web", "n", "1");
    project.store("web", "p", "x");
    let text = |format: &str| {
        let file = if format == "JSON" { "c.json" } else { "v.yaml" };
        let advice = "write its placeholder between double quotes and with the filter `json`";
        format!("warning: `{file}`: the value of `p` breaks the {format}; {advice}\n")
    };

    for (n, p, formats) in [
        ("1", "sk_live: #1 abc", &["YAML"][..]),
        ("1", "plain", &[]),
        ("1", "it's 100% fine", &[]),
        ("1", "nginx\"\nvolumes:\n  evil: 1", &["JSON", "YAML"]),
        ("1", "a\", \"q\": \"b", &["JSON", "YAML"]),
        ("1", "a\",\"q\":\"b", &["JSON"]),
        ("1", "a\nevil: 1", &["JSON", "YAML"]),
        ("1", "a\\", &["JSON"]),
        // The placeholder stands for a whole node.
        ("{\"a\": [1]}", "x", &[]),
    ] {
        project.command(&["update", "n", "-q"]).stdin(n).run().succeeds();
        project.command(&["update", "p", "-q"]).stdin(p).run().succeeds();
        let (code, _, stderr) = project.run(&["render", "--all"]).everything();
        assert_eq!(code, Some(0));
        let warnings: String = formats.iter().map(|format| text(format)).collect();
        let found: String = stderr
            .lines()
            .filter(|line| line.starts_with("warning"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(found, warnings, "{n} {p:?}");
    }

    let run = project.run(&["render", "c.json.tmpl", "-p", "web", "-o", "d.json"]).succeeds();
    stderr!(run, @"wrote `d.json`");
    project.command(&["update", "p", "-q"]).stdin("\"").run().succeeds();
    let run = project.run(&["render", "c.json.tmpl", "-p", "web", "-o", "d.json"]).succeeds();

    stderr!(run, @"
    warning: `d.json`: the value of `p` breaks the JSON; write its placeholder between double quotes and with the filter `json`
    wrote `d.json`
    ");
}
