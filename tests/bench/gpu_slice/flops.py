"""How model FLOPs are counted, the same for moebius and its peer."""

import json


def flops_a_token(config_file, length):
    """6 * parameters of the matrices that a token meets + 6 * layers * length * heads * head_dim: half of attention's square
    (causal), forward and backward."""
    with open(config_file, encoding="utf-8") as file:
        c = json.load(file)
    heads, kv_heads, head_dim, hidden = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"], c["hidden_size"]
    attention = head_dim * (2 * heads + 2 * kv_heads)  # query and output, key and value
    experts = 3 * c["num_experts_per_tok"] * c["moe_intermediate_size"]
    layer = hidden * (attention + c["num_experts"] + experts)
    matrices = c["num_hidden_layers"] * layer + c["vocab_size"] * hidden
    return 6 * matrices + 6 * c["num_hidden_layers"] * length * heads * head_dim
