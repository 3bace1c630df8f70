# A formula for Homebrew. packaging/recipes.sh fills in the address, the version and the hashes of a release.
class Secrets < Formula
  desc "Write-only secrets: in once, never shown, out only where a placeholder is"
  homepage "@ADDRESS@"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    on_arm do
      url "@ADDRESS@/releases/download/v@VERSION@/terminal-secrets-@VERSION@-aarch64-apple-darwin.tar.gz"
      sha256 "@SHA256:aarch64-apple-darwin@"
    end
    on_intel do
      url "@ADDRESS@/releases/download/v@VERSION@/terminal-secrets-@VERSION@-x86_64-apple-darwin.tar.gz"
      sha256 "@SHA256:x86_64-apple-darwin@"
    end
  end

  on_linux do
    on_arm do
      url "@ADDRESS@/releases/download/v@VERSION@/terminal-secrets-@VERSION@-aarch64-unknown-linux-musl.tar.gz"
      sha256 "@SHA256:aarch64-unknown-linux-musl@"
    end
    on_intel do
      url "@ADDRESS@/releases/download/v@VERSION@/terminal-secrets-@VERSION@-x86_64-unknown-linux-musl.tar.gz"
      sha256 "@SHA256:x86_64-unknown-linux-musl@"
    end
  end

  def install
    bin.install "secrets"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/secrets.bash" => "secrets"
    zsh_completion.install "completions/_secrets"
    fish_completion.install "completions/secrets.fish"
  end

  test do
    (testpath/"pass").write "correct horse battery staple"
    chmod 0600, testpath/"pass"
    ENV["SECRETS_PASSPHRASE_FILE"] = testpath/"pass"
    ENV["SECRETS_VAULT"] = testpath/"vault.db"
    system bin/"secrets", "init", "--quiet"
    pipe_output("#{bin}/secrets create --quiet --tag key", "value-of-the-test", 0)
    assert_equal "value-of-the-test", shell_output("#{bin}/secrets render -e '{{ secrets.key }}'")
  end
end
