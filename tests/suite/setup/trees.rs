//! Whole repositories are set up, and other template languages are left alone.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::repository::{MARKER, Project};

/// Sets a repository up twice and checks it.
#[track_caller]
fn assert_set_up(project: &Project, from: &str) {
    project.0.write("given.env", from);
    project.run(&["setup", "--from", "../given.env", "--yes", "-q"]).succeeds();
    project.changes_nothing(&["setup", "-q"]).succeeds();
    project.changes_nothing(&["setup", "--yes", "-q", "--from", "../given.env"]).succeeds();
    project.changes_nothing(&["render", "--all", "--check"]).succeeds();

    let (code, stdout, stderr) = project.changes_nothing(&["check"]).everything();
    assert_eq!(code, Some(0), "{}{stderr}", String::from_utf8_lossy(&stdout));
    project.git(&["add", "."]);
    project.run(&["scan", "--staged"]).succeeds().stderr_has("");
}

#[test]
fn a_node_app_is_set_up() {
    let project = Project::in_git(&[
        ("package.json", "{\"name\": \"shop\", \"scripts\": {\"start\": \"node src/index.js\"}}\n"),
        (".env.example", "DATABASE_URL=\nSESSION_KEY=\nPORT=3000\n"),
        (
            ".env.tmpl",
            "DATABASE_URL={{ secrets.database-url }}\r\nSESSION_KEY=\"{{SESSION_KEY}}\"\r\nPORT=3000\r\n",
        ),
        (
            "src/index.js",
            "const a = `${{ b: 1 }.b}`; // {{ user }}\nconst key = '{{ secrets.stripe-key | json }}';\n",
        ),
        (
            "views/home.hbs",
            "<h1>{{ title }}</h1>{{#if user}}{{ user.name }}{{/if}}{{{ body }}} {{> footer }}\n",
        ),
        (
            ".github/workflows/ci.yml",
            "env:\n  TOKEN: ${{ secrets.NPM_TOKEN }}\n  A: ${{ secrets.A }}\n",
        ),
        ("README.md", "\\{{ secrets.escaped }} and {{ secrets. }}\n"),
        (".gitignore", "node_modules/\n"),
        ("node_modules/dep/index.js", "{{ secrets.not-ours }}\n"),
    ]);

    let references = ".env.tmpl:1:14: database-url\n.env.tmpl:2:14: SESSION_KEY\nsrc/index.js:2:14: stripe-key | json\n";
    project.run(&["refs"]).succeeds().stdout(references);
    project.run(&["setup", "--new", "-q", "-p", "shop"]).succeeds();
    assert_set_up(
        &project,
        &format!("DATABASE_URL=postgres://{MARKER}\nSESSION_KEY='a b'\nSTRIPE_KEY=sk_1\nPORT=1\n"),
    );

    let text = format!("DATABASE_URL=postgres://{MARKER}\r\nSESSION_KEY=\"a b\"\r\nPORT=3000\r\n");
    assert_eq!(
        (project.read(".env"), project.read(".gitignore")),
        (text, "node_modules/\n/.env\n".into())
    );

    let declared = format!(
        "{}.secrets.toml:5:10: database-url (declared)\n.secrets.toml:7:10: SESSION_KEY (declared)\n\
         .secrets.toml:9:10: stripe-key (declared)\nsrc/index.js:2:14: stripe-key | json\n",
        references.split("src").next().unwrap()
    );

    project.run(&["refs"]).succeeds().stdout(declared);
}

#[test]
fn a_helm_chart_is_set_up_and_its_own_braces_are_left_alone() {
    let helm = "{{- include \"shop.name\" . }}\n{{ .Values.image.tag | quote }}{{ end }}\n{{- if .Values.x -}}{{- end }}\n\
        {{/* comment */}}{{ $x := 1 }}{{ toYaml .Values.y | nindent 4 }}\n{{ `{{ literal }}` }}{{ \"a\" }}{{ 1 }}{{}}\n";
    let project = Project::in_git(&[
        ("chart/Chart.yaml", "name: shop\nversion: 1.0.0\n"),
        ("chart/values.yaml", "image: {tag: v1}\n"),
        ("chart/templates/_helpers.tpl", &format!("{{{{- define \"shop.name\" -}}}}\n{helm}")),
        ("chart/templates/deployment.yaml", helm),
        (
            "chart/templates/secret.yaml.tmpl",
            &format!("{helm}data:\n  key: {{{{ secrets.tls-key | base64 }}}}\n"),
        ),
        (
            "chart/secret-values.yaml.tmpl",
            "db:\n  password: \"{{ secrets.db-password | json }}\"\n",
        ),
        ("chart/.helmignore", "*.tmpl\n.git/\n"),
    ]);

    project.run(&["refs"]).succeeds().stdout(
        "chart/secret-values.yaml.tmpl:2:14: db-password | json\nchart/templates/secret.yaml.tmpl:7:8: tls-key | base64\n",
    );
    project.run(&["setup", "--new", "-q"]).succeeds();
    assert_set_up(&project, &format!("DB_PASSWORD='{MARKER}\"'\nTLS_KEY=key\n"));
    assert_eq!(
        project.read("chart/secret-values.yaml"),
        format!("db:\n  password: \"{MARKER}\\\"\"\n")
    );

    assert_eq!(project.read("chart/templates/secret.yaml"), format!("{helm}data:\n  key: a2V5\n"));
}

#[test]
fn a_tree_with_other_template_languages_is_set_up() {
    sets_up_a_tree(5);
}

#[test]
#[ignore = "ten seconds, most of them git's"]
fn a_tree_of_ten_thousand_files_with_other_template_languages_is_set_up() {
    sets_up_a_tree(95);
}

/// Sets up a tree of a hundred directories with `number` files each, and 500 files that git
/// ignores.
fn sets_up_a_tree(number: usize) {
    let project = Project::in_git(&[(".gitignore", "node_modules/\n*.log\n!keep.log\n/tmp\n")]);
    let noise: [(&str, &[u8]); 5] = [
        ("html", b"<p>{{ user.name }}</p>{% for x in y %}{{ x|upper }}{% endfor %}{# {{ secret.x }} #}\n"),
        ("erb", b"<%= ENV['KEY'] %> <% if a %>{{ mustache }}{{{ raw }}}<% end %>\n"),
        ("py", b"f\"{{name}} {{ value }}\" % {'a': 1}\nTEMPLATE = '{{ secretsx.y }} {{ Secrets.z }}'\n"),
        ("bin", b"\0\x01{{ secrets.in-binary }}\xff"),
        ("css", b"a { b: c }\n"),
    ];

    for directory in 0..100 {
        let name = format!("app/d{directory}");
        fs::create_dir_all(project.path(&name)).unwrap();
        for n in 0..number {
            let (ending, content) = noise[n % noise.len()];
            fs::write(project.path(&format!("{name}/f{n}.{ending}")), content).unwrap();
        }
    }

    fs::create_dir_all(project.path("node_modules/dep")).unwrap();
    for n in 0..500 {
        fs::write(project.path(&format!("node_modules/dep/{n}.js")), "{{ secrets.vendored }}")
            .unwrap();
    }

    let long = "x\n".repeat(700_000);
    for (name, text) in [
        (".env.tmpl", "DB={{ secrets.db-url }}\nKEY={{SECRET_KEY}}\n"),
        (
            "app/d7/.hidden/settings.yml.tmpl",
            "{{ user.name }}\nkey: \"{{ secrets.DB_URL | json }}\"\n",
        ),
        ("app/d50/deploy.sh", "curl -H 'x: {{ secrets.deploy }}' {{secrets.deploy|shell}}\n"),
        ("app/d99/keep.log", "{{ secrets.kept }}"),
        ("app/d99/other.log", "{{ secrets.ignored }}"),
        ("tmp/x", "{{ secrets.ignored }}"),
        ("app/tmp", "é {{ secrets.deep }}"),
        ("app/large.txt", &format!("{long}  {{{{ secrets.far-down }}}}\n")),
    ] {
        project.write(name, text);
    }

    symlink("deploy.sh", project.path("app/d50/link")).unwrap();
    symlink("..", project.path("app/d50/loop")).unwrap();
    let expected = [
        ".env.tmpl:1:4: db-url",
        ".env.tmpl:2:5: SECRET_KEY",
        "app/d50/deploy.sh:1:13: deploy",
        "app/d50/deploy.sh:1:35: deploy | shell",
        "app/d7/.hidden/settings.yml.tmpl:2:7: DB_URL | json",
        "app/d99/keep.log:1:1: kept",
        "app/large.txt:700001:3: far-down",
        "app/tmp:1:4: deep",
    ];

    project.run(&["refs"]).succeeds().stdout(expected.join("\n") + "\n");
    let json = project.run(&["refs", "db_url", "--json"]).succeeds().json();

    // The count excludes ignored files and includes .gitignore. `far-down` only appears in prose.
    assert_eq!(
        (&json["files"], json["references"].as_array().unwrap().len()),
        (&(100 * number + 7).into(), 2)
    );

    project.run(&["setup", "--new", "-q"]).succeeds();
    let manifest = project.read(".secrets.toml");
    for (tag, is_there) in [
        ("deploy", true),
        ("kept", true),
        ("deep", true),
        ("far-down", false),
        ("in-binary", false),
    ] {
        assert_eq!(manifest.contains(&format!("[secrets.{tag}]")), is_there, "{tag}");
    }

    assert_set_up(
        &project,
        &format!("DB={MARKER}\nSECRET_KEY=k\nDEPLOY=d\nKEPT=k\nDEEP=d\nFAR_DOWN=f\n"),
    );

    assert_eq!(project.read(".env"), format!("DB={MARKER}\nKEY=k\n"));
    stderr!(project.changes_nothing(&["delete", "deploy", "-y"]).fails_with(7), @"
    error: 3 places refer to `deploy`
    .secrets.toml:9:10: deploy (declared)
    app/d50/deploy.sh:1:13: deploy
    app/d50/deploy.sh:1:35: deploy | shell
    hint: delete it anyway with `--force`; nothing was deleted
    ");
}
