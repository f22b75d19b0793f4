// The peak that MFU is a share of, and who says so.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "cluster/profile.h"
#include "plan/config/config.h"

namespace trine {

struct JobPeak {
  double flops_per_s = 0;  // of a rank, dense products of the run's dtype
  std::string source;      // "measured.json", "built-in rtx4090"
};

// The built-in profile of a GPU that calls itself so ("NVIDIA A100-SXM4-80GB"), by its model and form; nullopt for
// one with another peak or none of these: a laptop's, half a card, a card of another number.
std::optional<Profile> built_in_of_device(std::string_view device);

// Whether a profile was measured on such a CPU (cpu_name()).
bool measured_on(const Profile& profile, std::string_view cpu);

// Of a run: --cluster, else measured.json in the run's folder, else in the current one, if it was measured on such
// a `cpu`; a GPU (`device`, as Backend::describe() tells it) else by its name. What is there and cannot be used is
// said in `warning`: a yardstick is no reason to fail.
struct FoundPeak {
  std::optional<JobPeak> peak;
  std::optional<Profile> measured;  // of this machine, where measured.json is one
  std::string warning;
};
FoundPeak find_peak(const Config& config, const std::filesystem::path& run_folder, std::string_view device,
                    std::string_view cpu);

}  // namespace trine
