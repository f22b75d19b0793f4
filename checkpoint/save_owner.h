// Whose checkpoints a folder holds. A folder belongs to one run: two would rotate each other's checkpoints away.
// Its file `owner` has the run folder's absolute path, from the run's start on;
// a run's own folder "checkpoints" needs none.
#pragma once

#include <filesystem>
#include <optional>

namespace trine {

inline constexpr const char *kOwnerFile = "owner", *kOwnerTemporary = "owner.tmp";

// The run folder whose checkpoints are in `saves`, whether it is there or not: by where `saves` is, by its file
// `owner`, or by the configuration in its newest checkpoint; nothing: nobody's. IoError.
std::optional<std::filesystem::path> owner_of(const std::filesystem::path& saves);

// ConfigError if `saves` is another run's than `run`'s. One that was moved, and whose config.json says that it
// saves there, is the same run. IoError.
void check_owner(const std::filesystem::path& saves, const std::filesystem::path& run);

// ConfigError if a run that begins would save among checkpoints that are there already, whoever's. IoError.
void check_unused(const std::filesystem::path& saves);

// Makes `saves` the folder of `run`, one of two runs that try it at the same time: the other gets check_owner()'s
// error. `taken_over`: whosever it was. DataError if that can not be written.
void claim(const std::filesystem::path& saves, const std::filesystem::path& run, bool taken_over = false);

}  // namespace trine
