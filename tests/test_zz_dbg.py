import numpy as np, sys
from test_codec import *
def test_x(tiny_codec, tiny_integers, tiny_model, scenes):
    p=Image.fromarray(scenes[1,0].permute(1,2,0).numpy())
    p.save('/tmp/scene.png')
    for q in (1,30,50,70,100):
        d=tiny_codec.encode(p,q); x=tiny_codec.decode(d)
        print(q,len(d),psnr(p,x),len(d)*8/p.width/p.height, psnr(p,Image.new("RGB", p.size, tuple(int(v) for v in values(p).mean((0, 1))))))
        for m in (tiny_integers, tiny_model):
          with torch.no_grad():
            y=scenes[0].float()/255
            o=m(y,torch.full((2,),float(q))); print('   ',o.level_bits.sum(0), -10*o.mse.log10())
    assert 0
