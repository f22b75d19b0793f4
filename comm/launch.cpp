#include "comm/launch.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace trine {
namespace {

std::optional<int> environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc{} || end != view.data() + view.size()) return std::nullopt;
  return value;
}

}  // namespace

Launch detect_launch() {
  struct Launcher {
    const char *rank, *size, *local_size;
  };
  static constexpr Launcher launchers[] = {
      {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"},
      {"PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"},
      {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"},
  };
  for (const Launcher& launcher : launchers) {
    const auto rank = environment(launcher.rank), size = environment(launcher.size);
    if (rank && size) return {*rank, *size, environment(launcher.local_size).value_or(*size), true};
  }
  return {};
}

}  // namespace trine
