//! Reads how much memory this process may use, and how much of it is free.
//!
//! Both numbers come from `/proc` and from the control groups of versions 1 and 2. A number that is
//! unknown limits nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the bytes of memory that this process may use: the machine's memory, or the limit of its
/// control group if that is lower.
pub fn memory() -> Option<u64> {
    Machine(Path::new("/")).memory()
}

/// Returns true if at least `bytes` are free, or if the free memory is unknown.
pub fn has_free(bytes: u64) -> bool {
    Machine(Path::new("/")).free().is_none_or(|free| bytes <= free)
}

/// Returns true if neither the machine nor a limit on the process keeps it from allocating `bytes`
/// more.
pub fn can_allocate(bytes: u64) -> bool {
    let can_reserve = || {
        usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok())
    };

    has_free(bytes) && can_reserve()
}

/// The root of a file system with `/proc` and `/sys`.
struct Machine<'a>(&'a Path);

/// A control group that limits memory.
struct Group {
    limit: u64,
    used: Option<u64>,
    /// Cached pages of files, which the kernel drops when it needs memory
    reclaimable: u64,
}

impl Machine<'_> {
    fn memory(&self) -> Option<u64> {
        let limits = self.groups().into_iter().map(|group| group.limit);
        limits.chain(self.meminfo("MemTotal:")).min()
    }

    fn free(&self) -> Option<u64> {
        let swap = self.meminfo("SwapFree:").unwrap_or(0);
        let machine = self.meminfo("MemAvailable:").map(|available| available.saturating_add(swap));
        let groups = self.groups().into_iter().filter_map(|group| {
            let used = group.used?.saturating_sub(group.reclaimable);
            Some(group.limit.saturating_sub(used))
        });

        groups.chain(machine).min()
    }

    fn meminfo(&self, name: &str) -> Option<u64> {
        number_of(&self.0.join("proc/meminfo"), name)?.checked_mul(1024)
    }

    /// Returns the control groups of this process and the groups above them, because each one's
    /// limit applies.
    fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        for line in fs::read_to_string(self.0.join("proc/self/cgroup")).unwrap_or_default().lines()
        {
            // A line is "0::/path" in version 2, and "ID:controllers:/path" in version 1.
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let is_v1 = controllers.split(',').any(|name| name == "memory");
            if !is_v1 && !controllers.is_empty() {
                continue;
            }

            let mount = self.0.join(if is_v1 { "sys/fs/cgroup/memory" } else { "sys/fs/cgroup" });
            let own = mount.join(path.trim_start_matches('/'));
            let above = own.ancestors().take_while(|directory| directory.starts_with(&mount));
            groups.extend(above.filter_map(|directory| Group::read(directory, is_v1)));
        }

        groups
    }
}

impl Group {
    fn read(directory: &Path, is_v1: bool) -> Option<Self> {
        let names = if is_v1 {
            [
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
                "total_active_file",
            ]
        } else {
            ["memory.max", "memory.current", "inactive_file", "active_file"]
        };

        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let statistics = directory.join("memory.stat");
        Some(Self {
            limit: number(directory.join(names[0]))?,
            used: number(directory.join(names[1])),
            reclaimable: names[2..].iter().filter_map(|name| number_of(&statistics, name)).sum(),
        })
    }
}

/// Returns the number after a name at the beginning of a line.
fn number_of(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        let path = root.path().to_owned();
        (root, path)
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:  1048576 kB\nMemAvailable:  524288 kB\nSwapFree:  1024 kB\n");

    #[test]
    fn without_groups_the_whole_machine_counts() {
        let (_root, path) = machine(&[MEMINFO]);
        assert_eq!(Machine(&path).memory(), Some(1024 * MIB));
        assert_eq!(Machine(&path).free(), Some(513 * MIB));
        let (_root, path) = machine(&[]);

        assert_eq!((Machine(&path).memory(), Machine(&path).free()), (None, None));
    }

    #[test]
    fn the_lowest_limit_of_the_groups_counts() {
        let second = |own: &str, above: &str| {
            machine(&[
                MEMINFO,
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", own),
                ("sys/fs/cgroup/a/b/memory.current", "104857600\n"),
                (
                    "sys/fs/cgroup/a/b/memory.stat",
                    "anon 1\ninactive_file 52428800\nactive_file 0\n",
                ),
                ("sys/fs/cgroup/a/memory.max", above),
                ("sys/fs/cgroup/a/memory.current", "104857600\n"),
            ])
        };

        let (_root, path) = second("max\n", "max\n");
        assert_eq!(Machine(&path).memory(), Some(1024 * MIB));
        let (_root, path) = second("268435456\n", "max\n");
        assert_eq!(
            (Machine(&path).memory(), Machine(&path).free()),
            (Some(256 * MIB), Some(206 * MIB))
        );

        let (_root, path) = second("max\n", "209715200\n");
        assert_eq!(
            (Machine(&path).memory(), Machine(&path).free()),
            (Some(200 * MIB), Some(100 * MIB))
        );
    }

    #[test]
    fn groups_of_version_1_count_too() {
        // In a container the path may be the host's. Then the mount itself has the limit.
        for directory in ["sys/fs/cgroup/memory/docker/x", "sys/fs/cgroup/memory"] {
            let (limit, usage) = (
                format!("{directory}/memory.limit_in_bytes"),
                format!("{directory}/memory.usage_in_bytes"),
            );

            let (_root, path) = machine(&[
                MEMINFO,
                (
                    "proc/self/cgroup",
                    "3:cpu:/other\n2:memory,hugetlb:/docker/x\n1:name=systemd:/\n",
                ),
                (&limit, "134217728\n"),
                (&usage, "67108864\n"),
            ]);

            assert_eq!(
                (Machine(&path).memory(), Machine(&path).free()),
                (Some(128 * MIB), Some(64 * MIB))
            );
        }
    }
}
