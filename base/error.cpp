#include "base/error.h"

namespace trine {

void Problems::throw_if_any() const {
  if (list_.empty()) return;
  std::string text;
  for (const std::string& problem : list_) text += (text.empty() ? "" : "\n") + problem;
  throw ConfigError(text);
}

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  throw CheckError(fmt::format("[check] {}:{}: {} does not hold{}{}. This is a bug in Trine, please report it.",
                               file, line, condition, message.empty() ? "" : ": ", message));
}

}  // namespace trine
