// Which tokens a stream has and in which order, whatever files hold them and wherever those lie.
#pragma once

#include <string>

#include "data/token_source.h"

namespace trine {

// "1597728 tokens, xxh3 0123456789abcdef": the number of tokens and the XXH3 (64 bits) of their ids as
// little-endian i32. Streams of up to 2^25 tokens are hashed whole. Of longer ones 2,048 blocks of 4,096 tokens
// are, evenly spread from the first token to the last: opening a corpus of any size takes seconds, and another
// corpus is another identity, but a change between the blocks is not seen.
std::string identity_of(const TokenSource& source);

}  // namespace trine
