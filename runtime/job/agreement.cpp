#include "runtime/job/agreement.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <system_error>
#include <unistd.h>

#include "base/exit_code.h"
#include "base/json.h"
#include "checkpoint/hash.h"

namespace trine {
namespace {

constexpr size_t kMostListed = 8;  // ranks, or values of one fact

struct Outcome {
  int code = 0;
  char text[4096] = {};
  char host[64] = {};
};

// "rank 3", "ranks 0, 1 and 3", "ranks 0, 1, 2 and 60 more".
std::string list_ranks(const std::vector<size_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  const bool cut = ranks.size() > kMostListed;
  const size_t shown = cut ? kMostListed - 1 : ranks.size();
  for (size_t i = 0; i < shown; ++i)
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == ranks.size() ? " and " : ", ", ranks[i]);
  return cut ? text + fmt::format(" and {} more", ranks.size() - shown) : text;
}

void note(Outcome& outcome, ExitCode code, const char* text) {
  outcome.code = static_cast<int>(code);
  std::strncpy(outcome.text, text, sizeof outcome.text - 1);
  ::gethostname(outcome.host, sizeof outcome.host - 1);
}

// Every rank's text, by rank.
std::vector<std::string> gather_texts(Communicator& world, std::string own) {
  const std::vector<int64_t> sizes = gather_all(&world, std::ssize(own));
  const int64_t longest = *std::max_element(sizes.begin(), sizes.end());
  own.resize(static_cast<size_t>(longest));
  std::string together(static_cast<size_t>(longest * world.size()), '\0');
  world.all_gather(own.data(), together.data(), world.size(), DType::kU8, longest);
  std::vector<std::string> all;
  for (size_t rank = 0; rank < sizes.size(); ++rank)
    all.push_back(together.substr(rank * static_cast<size_t>(longest), static_cast<size_t>(sizes[rank])));
  return all;
}

// "--lr is 0.001 on ranks 0 and 1, 0.002 on rank 2", the commonest value first.
std::string describe(const std::string& name, const std::map<std::string, std::vector<size_t>>& values) {
  std::vector<const std::pair<const std::string, std::vector<size_t>>*> sorted;
  for (const auto& value : values) sorted.push_back(&value);
  std::ranges::stable_sort(sorted, [](auto* a, auto* b) { return a->second.size() > b->second.size(); });
  std::string text = fmt::format("[ranks] {} is ", name);
  for (size_t i = 0; i < sorted.size() && i < kMostListed; ++i)
    text += fmt::format("{}{} on {}", i == 0 ? "" : ", ", sorted[i]->first.empty() ? "nothing" : sorted[i]->first,
                        list_ranks(sorted[i]->second));
  return text;
}

}  // namespace

bool is_agreed(const std::exception& error) {
  return dynamic_cast<const AgreedError*>(&error) != nullptr ||
         dynamic_cast<const NonFiniteError*>(&error) != nullptr;
}

namespace {

// What became of `body` on every rank.
std::vector<Outcome> try_together(Communicator& world, const std::function<void()>& body) {
  Outcome own;
  try {
    const Silence silence;
    body();
  } catch (const Error& error) {
    note(own, error.code(), error.what());
  } catch (const std::bad_alloc& error) {
    note(own, exit_code_of(error), message_of(error).c_str());
  } catch (const std::system_error& error) {
    note(own, exit_code_of(error), message_of(error).c_str());
  }
  return gather_all(&world, own);
}

}  // namespace

void run_on_first(Communicator* world, const std::function<void()>& body) {
  if (world == nullptr) return body();
  const Outcome first = try_together(*world, [&] {
    if (world->rank() == 0) body();
  })[0];
  if (first.code != 0) throw AgreedError(static_cast<ExitCode>(first.code), first.text);
}

void run_agreed(Communicator* world, const std::function<void()>& body) {
  if (world == nullptr) return body();
  const std::vector<Outcome> outcomes = try_together(*world, body);
  std::vector<size_t> failed;
  for (size_t rank = 0; rank < outcomes.size(); ++rank)
    if (outcomes[rank].code != 0) failed.push_back(rank);
  if (failed.empty()) return;
  const Outcome& first = outcomes[failed.front()];
  std::string text = first.text;
  if (failed.size() < outcomes.size())
    text += fmt::format("\n(Only {} of {} found this; the first of them runs on {}.)", list_ranks(failed),
                        outcomes.size(), first.host);
  throw AgreedError(static_cast<ExitCode>(first.code), text);
}

std::string told_by_first(Communicator* world, const std::string& own) {
  if (world == nullptr) return own;
  std::string text = own;
  text.resize(static_cast<size_t>(gather_all(world, std::ssize(own))[0]));
  world->broadcast(text.data(), std::ssize(text), DType::kU8, 0);
  return text;
}

void check_same_on_all(Communicator* world, const Facts& own) {
  if (world == nullptr) return;
  const std::string text = nlohmann::json(own).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::vector<uint64_t> hashes = gather_all(world, xxh3(text));
  if (std::ranges::count(hashes, hashes[0]) == std::ssize(hashes)) return;
  std::map<std::string, std::map<std::string, std::vector<size_t>>> facts;  // by name, then by value
  std::vector<std::string> names;                                           // in the order of the first rank
  const std::vector<std::string> texts = gather_texts(*world, text);
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    for (const auto& [name, value] : parse_json(texts[rank]).get<Facts>()) {
      if (!facts.contains(name)) names.push_back(name);
      facts[name][value].push_back(rank);
    }
  }
  std::string problems;
  for (const std::string& name : names) {
    std::vector<size_t> missing;
    for (size_t rank = 0; rank < texts.size(); ++rank)
      if (std::ranges::none_of(facts[name], [&](const auto& v) { return std::ranges::count(v.second, rank) > 0; }))
        missing.push_back(rank);
    if (!missing.empty()) facts[name][""] = missing;
    if (facts[name].size() > 1) problems += describe(name, facts[name]) + ".\n";
  }
  throw AgreedError(ExitCode::kConfig,
                    problems +
                        "All ranks of a run must mean the same: give every host the same files and flags, or "
                        "put what differs on the command line.");
}

std::vector<std::string> gather_hosts(Communicator& world) {
  struct Name {
    char text[256] = {};
  };
  Name own;
  ::gethostname(own.text, sizeof own.text - 1);
  std::vector<std::string> hosts;
  for (const Name& name : gather_all(&world, own)) hosts.emplace_back(name.text);
  return hosts;
}

}  // namespace trine
