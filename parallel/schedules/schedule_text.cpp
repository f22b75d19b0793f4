#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "parallel/schedules/schedule.h"

namespace trine {

std::string to_string(const Action& action) {
  return std::to_string(action.stage) + static_cast<char>(action.kind) + std::to_string(action.microbatch);
}

std::string to_string(const Schedule& schedule) {
  std::string text;
  for (const Action& action : schedule) text += (text.empty() ? "" : " ") + to_string(action);
  return text;
}

namespace {

constexpr std::string_view kSpace = " \t\r\n";

// Takes a number off the front of `text`.
std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  const bool digit = !text.empty() && text.front() >= '0' && text.front() <= '9';  // from_chars would take a minus
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (!digit || error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

Action parse_action(std::string_view word, size_t position) {
  std::string_view rest = word;
  const auto fail = [&](std::string_view what) -> Action {
    throw ConfigError(
        fmt::format("[schedule] '{}' at position {}: {}. Write stage, kind and microbatch, as in 2F0.", word,
                    position + static_cast<size_t>(rest.data() - word.data()), what));
  };
  Action action;
  const auto stage = take_number(rest);
  if (!stage) return fail("no stage number");
  action.stage = *stage;
  if (rest.empty() || std::string_view("FIWB").find(rest.front()) == rest.npos)
    return fail("the kind is none of F, I, W, B");
  action.kind = static_cast<ActionKind>(rest.front());
  rest.remove_prefix(1);
  const auto microbatch = take_number(rest);
  if (!microbatch) return fail("no microbatch number");
  action.microbatch = *microbatch;
  if (!rest.empty()) return fail("the action goes on after its microbatch");
  return action;
}

}  // namespace

Schedule parse_schedule(std::string_view text) {
  Schedule schedule;
  size_t begin = text.find_first_not_of(kSpace);
  while (begin != text.npos) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    schedule.push_back(parse_action(text.substr(begin, end - begin), begin + 1));
    begin = text.find_first_not_of(kSpace, end);
  }
  return schedule;
}

}  // namespace trine
