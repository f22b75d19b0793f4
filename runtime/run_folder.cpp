#include "runtime/run_folder.h"

#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/error.h"

namespace trine {

RunFolder RunFolder::create(const std::filesystem::path& wanted) {
  if (wanted.empty()) throw ConfigError("[run folder] its name is empty. Give --out a folder.");
  const std::filesystem::path clean = (wanted / "").lexically_normal().parent_path();  // without a slash at the end
  std::error_code error;
  if (clean.has_parent_path()) std::filesystem::create_directories(clean.parent_path(), error);
  for (int number = 1; !error; ++number) {
    const std::filesystem::path path =
        number == 1 ? clean : std::filesystem::path(fmt::format("{}-{}", clean.string(), number));
    if (::mkdir(path.c_str(), 0777) == 0) return RunFolder(path);  // atomic: one of two racing runs gets EEXIST
    if (errno != EEXIST) error.assign(errno, std::generic_category());
  }
  throw DataError(fmt::format("[run folder] {} cannot be made: {}. Choose another --out, or mend that folder.",
                              clean.string(), error.message()));
}

std::filesystem::path RunFolder::trace(int rank, int64_t first_step) const {
  std::filesystem::path folder = path_ / "trace";
  if (first_step > 1) folder /= fmt::format("from-step-{:06}", first_step);
  return folder / fmt::format("rank-{:04}.json", rank);
}

void RunFolder::remove_if_empty() const {
  ::rmdir((path_ / "status").c_str());
  ::rmdir(path_.c_str());
}

void RunFolder::write_config(std::string_view json) const {
  AtomicFile file(config());
  file.write(json);
  file.commit();
}

}  // namespace trine
