#include "runtime/training/job_peak.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <vector>

#include "base/error.h"
#include "base/file_system.h"

namespace trine {
namespace {

constexpr std::string_view kMeasured = "measured.json";

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text)
    if (c == ' ' || c == '-')
      words.emplace_back();
    else
      words.back() += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::erase(words, "");
  return words;
}

bool has_digit(const std::string& word) {
  return std::ranges::any_of(word, [](unsigned char c) { return std::isdigit(c) != 0; });
}

// What a card's name may have beside its model without being another card.
bool says_nothing_of_speed(const std::string& word) {
  constexpr std::array<std::string_view, 4> kWords = {"NVIDIA", "GEFORCE", "RTX", "PCIE"};
  return std::ranges::count(kWords, word) > 0 || word.starts_with("SXM") || word.starts_with("HBM") ||
         (word.ends_with("GB") && std::isdigit(static_cast<unsigned char>(word[0])) != 0);
}

JobPeak peak_of(const Profile& profile, const Config& config, std::string source) {
  const int ranks = config.mesh.num_ranks();
  return {profile.peak_flops(config.dtype, ranks, config.threads) / ranks, std::move(source)};
}

}  // namespace

std::optional<Profile> built_in_of_device(std::string_view device) {
  const std::vector<std::string> words = words_of(device);
  const bool pcie = std::ranges::count(words, "PCIE") > 0;
  for (const std::string& name : built_in_profiles()) {
    const Profile profile = load_profile(name);
    const std::vector<std::string> own = words_of(profile.device.name);
    const auto model = std::ranges::find_if(own, has_digit);
    if (model == own.end() || std::ranges::count(own, "ARTICLE") > 0) continue;
    const bool same = std::ranges::count(words, *model) == 1 && std::ranges::all_of(words, [&](const auto& word) {
                        return word == *model || says_nothing_of_speed(word);
                      });
    const bool has_form = std::ranges::count(own, "PCIE") + std::ranges::count(own, "SXM") > 0;
    if (same && (!has_form || pcie == (std::ranges::count(own, "PCIE") > 0))) return profile;
  }
  return std::nullopt;
}

bool measured_on(const Profile& profile, std::string_view cpu) {
  return profile.is_cpu() && profile.device.name == fmt::format("core of {}", cpu);
}

FoundPeak find_peak(const Config& config, const std::filesystem::path& run_folder, std::string_view device,
                    std::string_view cpu) {
  const bool on_cpu = config.device == DeviceKind::kCpu;
  try {
    if (!config.cluster.empty()) {
      const Profile profile = load_profile(config.cluster, config.cluster_changes);
      return {peak_of(profile, config, config.cluster), {}, {}};
    }
    if (on_cpu)
      for (const std::filesystem::path& file : {run_folder / kMeasured, std::filesystem::path(kMeasured)}) {
        if (!is_there(file)) continue;
        const Profile profile = load_profile(file.string());
        if (!measured_on(profile, cpu))
          return {std::nullopt, std::nullopt,
                  fmt::format("{} was measured on another machine ({}): no MFU is printed. measure_cluster "
                              "measures this one; --cluster {} takes it all the same.",
                              file.string(), profile.device.name, file.string())};
        return {peak_of(profile, config, file.string()), profile, {}};
      }
  } catch (const Error& error) {
    return {std::nullopt, std::nullopt, fmt::format("no MFU is printed, for want of a peak: {}", error.what())};
  }
  if (config.device == DeviceKind::kCuda) {
    // "cuda NVIDIA H200, 140 GB, sm_90, ..."
    std::string_view of_card = device.substr(0, device.find(','));
    if (of_card.starts_with("cuda ")) of_card.remove_prefix(5);
    if (const auto profile = built_in_of_device(of_card))
      return {peak_of(*profile, config, "built-in " + profile->name), {}, {}};
  }
  return {};
}

}  // namespace trine
