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

}  // namespace trine
