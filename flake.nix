{
  description = "Write-only secrets: in once, never shown, out only where a placeholder is";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      manifest = (nixpkgs.lib.importTOML ./Cargo.toml).workspace.package;
    in
    {
      packages = each (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = "terminal-secrets";
          version = manifest.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          cargoBuildFlags = [ "--bin" "secrets" ];

          # The tests need namespaces, a terminal and programs that a sandbox of Nix does not have.
          doCheck = false;

          nativeBuildInputs = [ pkgs.installShellFiles ];
          postInstall = ''
            installManPage man/*.1
            installShellCompletion --bash --name secrets completions/secrets.bash
            installShellCompletion --zsh completions/_secrets
            installShellCompletion --fish completions/secrets.fish
          '';

          meta = {
            description = "Write-only secrets: in once, never shown, out only where a placeholder is";
            license = with pkgs.lib.licenses; [ mit asl20 ];
            mainProgram = "secrets";
          };
        };
      });

      devShells = each (pkgs: {
        default = pkgs.mkShell { packages = [ pkgs.cargo pkgs.rustc pkgs.clippy pkgs.rustfmt pkgs.just ]; };
      });
    };
}
