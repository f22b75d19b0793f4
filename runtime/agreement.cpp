#include "runtime/agreement.h"

#include <cstring>

#include "base/error.h"

namespace trine {
namespace {

struct Outcome {
  int code = 0;
  char text[4096] = {};
};

}  // namespace

void run_agreed(Communicator* world, const std::function<void()>& body) {
  if (world == nullptr) return body();
  Outcome own;
  try {
    body();
  } catch (const Error& error) {
    own.code = static_cast<int>(error.code());
    std::strncpy(own.text, error.what(), sizeof own.text - 1);
  }
  for (const Outcome& outcome : gather_all(world, own))
    if (outcome.code != 0) throw Error(static_cast<ExitCode>(outcome.code), outcome.text);
}

}  // namespace trine
