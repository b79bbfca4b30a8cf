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

}  // namespace moebius::data
