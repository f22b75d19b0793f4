#include "checkpoint/checked_checkpoints.h"

#include <sys/stat.h>

#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/file_io.h"
#include "checkpoint/hash.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

// Changes with every file that is written to, replaced, added or gone.
uint64_t state_of(const fs::path& checkpoint) {
  std::string text;
  for (const std::string& name : names_in(checkpoint).value_or(std::vector<std::string>())) {
    struct stat info {};
    if (::lstat((checkpoint / name).c_str(), &info) != 0)
      throw_file_error("[checkpoint]", checkpoint / name, "looking at it");
    text += fmt::format("{} {} {} {}.{} {}.{}\n", name, info.st_ino, info.st_size, info.st_mtim.tv_sec,
                        info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
  }
  return xxh3(text);
}

}  // namespace

void CheckedCheckpoints::trust(const fs::path& checkpoint) { known_[checkpoint] = {state_of(checkpoint), {}}; }

std::string CheckedCheckpoints::problem_of(const fs::path& checkpoint, bool& is_new) {
  const uint64_t state = state_of(checkpoint);
  const auto known = known_.find(checkpoint);
  is_new = known == known_.end() || known->second.state != state;
  if (!is_new) return known->second.problem;
  std::string problem = CheckpointFolder::check_whole(checkpoint);
  known_[checkpoint] = {state, problem};
  return problem;
}

}  // namespace trine
