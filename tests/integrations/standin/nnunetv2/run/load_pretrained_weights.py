"""nnU-Net's way: every tensor of the network but the segmentation layers has to be in the file."""

import torch


def load_pretrained_weights(network, fname):
    pretrained = torch.load(fname, weights_only=False)["network_weights"]
    own = network.state_dict()
    for key in own:
        if ".seg_layers." not in key:
            assert key in pretrained, f"Key {key} is missing in the pretrained model weights."
            assert own[key].shape == pretrained[key].shape
    chosen = {k: v for k, v in pretrained.items() if k in own and ".seg_layers." not in k}
    own.update(chosen)
    network.load_state_dict(own)
