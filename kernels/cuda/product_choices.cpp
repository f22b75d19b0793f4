#include "kernels/cuda/product_choices.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/json.h"
#include "base/text.h"

namespace trine::cuda {

std::map<std::string, ProductChoices::Chosen> ProductChoices::read() const {
  if (options_.file.empty() || !is_there(options_.file)) return {};
  try {
    return read_json_file(options_.file).get<std::map<std::string, Chosen>>();
  } catch (const nlohmann::json::exception&) {
    throw DataError("[products] " + options_.file.string() + " is no table of choices.");
  }
}

void ProductChoices::open() {
  open_ = true;
  try {
    auto all = read();
    chosen_.merge(all[options_.machine]);
  } catch (const Error& error) {
    notices_.insert(fmt::format("{} Products are timed again.", error.what()));
  }
}

void ProductChoices::close() {
  open_ = false;
  if (!is_new_ || options_.file.empty()) return;
  is_new_ = false;
  try {
    std::map<std::string, Chosen> all;
    try {
      all = read();
    } catch (const IoError&) {
      throw;
    } catch (const DataError&) {  // replaced, as open() has said
    }
    Chosen& own = all[options_.machine];
    for (const auto& [problem, candidate] : chosen_) own[problem] = candidate;
    std::filesystem::create_directories(options_.file.parent_path());
    AtomicFile file(options_.file);
    file.write(nlohmann::json(all).dump(1) + "\n");
    file.commit();
  } catch (const Error& error) {
    notices_.insert(fmt::format("[products] choices are not kept: {}", error.what()));
  } catch (const std::filesystem::filesystem_error& error) {
    notices_.insert(fmt::format("[products] choices are not kept: {}", error.what()));
  }
}

size_t ProductChoices::choose(const std::string& problem, std::span<const std::string> candidates,
                              const Trial& trial) {
  if (const auto known = chosen_.find(problem); known != chosen_.end())
    if (const auto at = std::find(candidates.begin(), candidates.end(), known->second); at != candidates.end()) {
      ++known_;
      return static_cast<size_t>(at - candidates.begin());
    }
  if (!open_ || candidates.size() == 1 || seconds_ >= options_.most_seconds) return 0;
  ++timed_;
  size_t best = 0;
  double best_s = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const double seconds = trial(i);
    if (std::isfinite(seconds)) seconds_ += kRuns * seconds;
    if (i == 0 || seconds < best_s) best = i, best_s = seconds;
  }
  chosen_[problem] = candidates[best];
  is_new_ = true;
  return best;
}

std::string ProductChoices::table() const {
  return nlohmann::json(std::map<std::string, Chosen>{{options_.machine, chosen_}}).dump();
}

void ProductChoices::adopt(const std::string& table) {
  auto all = parse_json(table).get<std::map<std::string, Chosen>>();
  for (const auto& [problem, candidate] : all[options_.machine]) chosen_[problem] = candidate;
  ++version_;
}

std::string ProductChoices::text() const {
  if (timed_ + known_ == 0) return {};
  return fmt::format("{} products timed in {:.1f} s, {} known", timed_, seconds_, known_);
}

std::filesystem::path product_choices_file() {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != 0) return std::filesystem::path(cache) / "trine" / "products.json";
  const char* const home = std::getenv("HOME");
  if (home == nullptr || *home == 0) return {};
  return std::filesystem::path(home) / ".cache" / "trine" / "products.json";
}

}  // namespace trine::cuda
