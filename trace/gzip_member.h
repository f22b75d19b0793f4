// A gzip file that grows by pieces and is whole after each: one member, whose end the next piece overwrites.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace trine {

// What has been compressed so far. A copy goes on by itself:
// a piece that could not be written is forgotten with it.
class GzipMember {
 public:
  GzipMember();
  GzipMember(const GzipMember& other);
  GzipMember& operator=(GzipMember&& other) noexcept;
  ~GzipMember();

  // The next bytes of the file, which hold all of `text`.
  std::string append(std::string_view text);
  // The bytes with which a file ends here, in `text` and gzip's trailer. The next append() belongs in their place.
  std::string end(std::string_view text) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trine
