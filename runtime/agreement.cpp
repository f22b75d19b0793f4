#include "runtime/agreement.h"

#include <cstring>
#include <unistd.h>

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
