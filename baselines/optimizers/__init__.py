"""What competes in the training track: optimizers, and outer rules beside them."""

OPTIMIZERS = {
    "adam": "...rl.optimizer:FusedAdam",
    "sgd": ".gradient:SGD",
    "rmsprop": ".gradient:RMSProp",
    "adam-rel": ".gradient:AdamRel",
    "adam-reset": ".gradient:AdamReset",
}
"""Optimizers of this package, by name, as `module:class`."""
OUTER_RULES = {
    "outer-step": ".outer_step:OuterStep",
    "outer-nesterov": ".outer_step:OuterNesterov",
    "ema": ".averages:EMA",
    "lawa": ".averages:LAWA",
    "pptb": ".pptb:PPTB",
    "jump": ".jump:Jump",
}
"""Outer rules of this package, by name, as `module:class`."""
