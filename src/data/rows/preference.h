#pragma once
#include <vector>

#include "data/rows/json.h"
#include "data/rows/row.h"

namespace moebius::data {

/// Rows with a "chosen" answer, as TRL and LLaMA-Factory write them, made into rows of a plain form: the
/// answer (text, one message, or a list of them) follows the row's messages or its prompt; a list that begins
/// with a user or system message is the whole conversation. Rows that already have a response, or no
/// "chosen", pass unchanged.
void put_chosen(Json::Object& columns);

/// Throws Dropped if "rejected_response" is null, equal to the last message, or nothing that could be trained
/// against: such a row is dropped whatever it is used for.
void check_rejected(const Json::Object& columns, const std::vector<Message>& messages);

/// The other side of a row, as ms-swift makes it: of "rejected_messages" with "rejected_tools", which share
/// nothing with the chosen side; or of "rejected_response", a text or a list of messages, in place of all
/// that follows the last user. A "rejected" answer without them is the second, or, as a whole conversation,
/// the first, with the row's tools. Throws Dropped where there is none, or the two answers are one and the
/// same message.
[[nodiscard]] ChatRow rejected_row(const ChatRow& chosen, Json::Object& columns, JsonParser& parser);

}  // namespace moebius::data
